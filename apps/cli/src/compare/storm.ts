import { type HostMemory, PAGE_SIZE } from '@nvmx/guest-memory';
import type { PageBackend, VmMemory } from '@nvmx/mmu-events';
import { StaleAccessAudit } from '@nvmx/nested-vmx';
import { GUEST_BYTES, type GuestFigures, guestFigures, marker, PAGES_BYTES, PAGES_GPA } from './compare-guest.ts';
import { CompareMachine } from './compare-machine.ts';
import { type EventCounts, HostEvents } from './host-events.ts';
import { NEIGHBOR_PAGES } from './neighbor.ts';
import { PhaseWatch } from './phase-watch.ts';
import { type StaleSummary, summarize } from './stale-summary.ts';
import type { Counters } from './statistics.ts';

/** L2 runs so many instructions between two looks of the host: a prime, so that stops drift through the guest's loops. */
const TICK_INSTRUCTIONS = 101;
const SPARE_FRAMES = 32;

/** What a storm needs of memory: the guest's, two regions of pages, the neighbor's, and frames that are on their way. */
export const STORM_BYTES = GUEST_BYTES + 2 * PAGES_BYTES + (NEIGHBOR_PAGES + SPARE_FRAMES) * PAGE_SIZE;

/** What one backend did, and let happen, while the host did as it liked. */
export interface StormResult {
  readonly counters: Counters;
  readonly events: EventCounts;
  readonly accesses: StaleSummary;
  /** Frames that the host had given to somebody else, and that were written all the same. */
  readonly corruptedPages: number;
  readonly guest: GuestFigures;
}

/**
 * Runs the storm of compare.elf. Whenever the vCPU stands between two VM entries of L2 the host may act; nothing else is
 * concurrent, so the same seed gives the same run.
 */
export function runStorm(o: {
  readonly memory: HostMemory;
  readonly createBackend: (vm: VmMemory) => PageBackend;
  readonly image: Uint8Array;
  readonly iterations: number;
  readonly seed: number;
  readonly clock: () => number;
}): StormResult {
  let audit: StaleAccessAudit | undefined;
  const phase = new PhaseWatch({ begin: marker.STORM_BEGIN, end: marker.STORM_END });
  const guest = new CompareMachine({
    ...o,
    phase,
    createAudit: (vm) => {
      audit = new StaleAccessAudit(vm, { staleMax: Number.MAX_SAFE_INTEGER });
      return audit;
    },
  });
  const { machine } = guest;
  machine.backend.observe(audit);
  const events = new HostEvents({ machine, seed: o.seed });
  machine.load(o.image, { commandLine: `pages=0x${PAGES_GPA.toString(16)} round-trips=0 storm=${o.iterations}` });
  for (;;) {
    const outcome = machine.run({ entriesMax: 1, ...(phase.isRunning ? { tickInstructions: TICK_INSTRUCTIONS } : {}) });
    if (outcome.kind !== 'budget') {
      guest.checkEnd(outcome);
      break;
    }
    if (phase.isRunning && machine.vcpu.nested.guestMode) events.step();
  }
  machine.destroy();
  return result({ phase, events, audit: audit!, guest });
}

function result(o: {
  phase: PhaseWatch;
  events: HostEvents;
  audit: StaleAccessAudit;
  guest: CompareMachine;
}): StormResult {
  return {
    counters: o.phase.counters,
    events: o.events.counts,
    accesses: summarize(o.audit),
    corruptedPages: o.events.neighbor.corruptedPages,
    guest: guestFigures(o.guest.reported),
  };
}
