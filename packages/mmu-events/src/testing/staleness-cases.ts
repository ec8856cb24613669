import type { Gpa } from '@nvmx/guest-memory';
import { drive, type Op } from '@nvmx/sync';
import { expect } from 'vitest';
import type { ContractCase } from './case.ts';
import { type Fixture, pageA } from './fixture.ts';
import type { BackendPromises } from './promises.ts';

function mayBeStale(promises: BackendPromises): boolean {
  return !promises.current;
}

/** One event that a map-per-entry backend does not notice: it goes on with the old page until the next hold. */
function unnoticed(title: string, event: (f: Fixture) => Op<unknown>, finds: Gpa = pageA): ContractCase {
  return {
    title: `${title} goes unnoticed: the old frame stays in use until release(), and the next hold is right`,
    applies: mayBeStale,
    run(f) {
      const page = f.held();
      const [stamp, pfn] = [page.stamp(), page.pfn];
      drive(event(f));
      expect(page.isCurrent(stamp), 'isCurrent() promises nothing more than held').toBe(true);
      expect(page.beginUse()).toBe(true);
      expect(page.pfn).toBe(pfn);
      page.endUse();
      page.release({ dirty: false });
      f.hold(page, finds);
      f.expectCurrent(page, finds);
      expect(page.isCurrent(stamp), 'a stamp names one hold').toBe(false);
      expect(f.backend.statistics.invalidations).toBe(0);
    },
  };
}

/** What a backend without currency does instead: documented staleness, asserted so that it cannot hide. */
export const stalenessCases: readonly ContractCase[] = [
  unnoticed('discard', (f) => f.host.discard(f.rangeOf(pageA))),
  unnoticed('the OOM reaper', (f) => f.host.reap(f.rangeOf(pageA))),
  unnoticed('a moved memslot', (f) => f.plainRegion({ gpa: 0x60_0000 }), 0x60_0000 as Gpa),
  unnoticed('a memslot deleted and made anew', deleteAndCreate),
  {
    title: 'the frame of a discarded page is not the frame of its gpa any more: the access is stale',
    applies: mayBeStale,
    run(f) {
      const page = f.held();
      drive(f.host.discard(f.rangeOf(pageA)));
      const stale: boolean[] = [];
      f.backend.observe({ l0Access: (_page, gpa, pfn) => stale.push(pfn !== f.pfnOf(gpa)) });
      expect(page.beginUse()).toBe(true);
      page.endUse();
      expect(stale).toEqual([true]);
    },
  },
  {
    title: 'migrate goes unnoticed where frames are not pinned',
    applies: (promises) => mayBeStale(promises),
    run(f) {
      const page = f.held();
      if (f.memory.frames.pinned(page.pfn)) return;
      const pfn = page.pfn;
      drive(f.host.migrate(f.hvaOf(pageA)));
      expect(page.beginUse()).toBe(true);
      expect(page.pfn).toBe(pfn);
      expect(f.pfnOf(pageA)).not.toBe(pfn);
      page.endUse();
    },
  },
];

function* deleteAndCreate(f: Fixture): Op<void> {
  yield* f.plainRegion({ bytes: 0 });
  yield* f.plainRegion();
}
