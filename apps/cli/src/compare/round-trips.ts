import type { HostMemory } from '@nvmx/guest-memory';
import type { BackendName } from '../backends.ts';
import { GuestFailure } from '../errors.ts';
import { marker, report } from './compare-guest.ts';
import { CompareMachine } from './compare-machine.ts';
import { PhaseWatch } from './phase-watch.ts';
import type { Counters } from './statistics.ts';

/** One measured stretch of nested round trips. */
export interface RoundTripSample {
  /** Time of one: L2's VMCALL, the exit to L1, its VMRESUME, the entry into L2. */
  readonly nanoseconds: number;
  /** What the backend did in all of them. */
  readonly counters: Counters;
  /** Checks that the guest made of every kind of page, and passed, before the stretch. */
  readonly checksPassed: number;
}

/** Boots compare.elf, lets it check every page, and times its round trips between the guest's own markers. */
export function measureRoundTrips(o: {
  readonly memory: HostMemory;
  readonly backend: BackendName;
  readonly image: Uint8Array;
  readonly roundTrips: number;
  readonly clock: () => number;
}): RoundTripSample {
  const phase = new PhaseWatch({ begin: marker.ROUND_TRIPS_BEGIN, end: marker.ROUND_TRIPS_END });
  const guest = new CompareMachine({ ...o, phase });
  guest.machine.load(o.image, { commandLine: `round-trips=${o.roundTrips} storm=0` });
  guest.checkEnd(guest.machine.run());
  guest.machine.destroy();
  const made = guest.reported.get(report.ROUND_TRIPS);
  if (made !== o.roundTrips) throw new GuestFailure(`compare: the guest made ${made} round trips of ${o.roundTrips}`);
  return {
    nanoseconds: (phase.milliseconds * 1e6) / o.roundTrips,
    counters: phase.counters,
    checksPassed: guest.checksPassed,
  };
}
