import type { HostMemory } from '@nvmx/guest-memory';
import type { PageBackend, VmMemory } from '@nvmx/mmu-events';
import { GuestFailure } from '../errors.ts';
import { marker, report } from './compare-guest.ts';
import { CompareMachine } from './compare-machine.ts';
import { PhaseWatch } from './phase-watch.ts';
import { type Counters, median } from './statistics.ts';

/** VM entries of one slice: some ten round trips, less than a time slice of the host. */
const SLICE_ENTRIES = 128;

/** One measured stretch of nested round trips. */
export interface RoundTripSample {
  /** Time of one: L2's VMCALL, the exit to L1, its VMRESUME, the entry into L2. */
  readonly nanoseconds: number;
  /** What the backend did in all of them. */
  readonly counters: Counters;
  /** Checks that the guest made of every kind of page, and passed, before the stretch. */
  readonly checksPassed: number;
}

/**
 * Boots compare.elf, lets it check every page, and times its round trips between the guest's own markers.
 *
 * The time is the median of slices, so that a slice in which the host ran somebody else does not count. A stretch that is
 * shorter than a slice is timed as a whole.
 */
export function measureRoundTrips(o: {
  readonly memory: HostMemory;
  readonly createBackend: (vm: VmMemory) => PageBackend;
  readonly image: Uint8Array;
  readonly roundTrips: number;
  readonly clock: () => number;
}): RoundTripSample {
  const phase = new PhaseWatch({ begin: marker.ROUND_TRIPS_BEGIN, end: marker.ROUND_TRIPS_END });
  const guest = new CompareMachine({ ...o, phase });
  guest.machine.load(o.image, { commandLine: `round-trips=${o.roundTrips} storm=0` });
  const slices = runInSlices(guest, { phase, clock: o.clock });
  guest.machine.destroy();
  const made = guest.reported.get(report.ROUND_TRIPS);
  if (made !== o.roundTrips) throw new GuestFailure(`compare: the guest made ${made} round trips of ${o.roundTrips}`);
  return {
    nanoseconds: 1e6 * (slices.length > 0 ? median(slices) : phase.milliseconds / o.roundTrips),
    counters: phase.counters,
    checksPassed: guest.checksPassed,
  };
}

/** Runs the guest to its end. Returns milliseconds for one round trip of each slice that lies within the phase. */
function runInSlices(guest: CompareMachine, o: { readonly phase: PhaseWatch; readonly clock: () => number }): number[] {
  const { machine } = guest;
  const { statistics } = machine.vcpu;
  const slices: number[] = [];
  for (;;) {
    const [begun, entriesBefore, milliseconds] = [o.phase.isRunning, statistics.nestedEntries, o.clock()];
    const outcome = machine.run({ entriesMax: SLICE_ENTRIES });
    const elapsed = o.clock() - milliseconds;
    if (begun && o.phase.isRunning) slices.push(elapsed / (statistics.nestedEntries - entriesBefore));
    if (outcome.kind === 'budget') continue;
    guest.checkEnd(outcome);
    return slices;
  }
}
