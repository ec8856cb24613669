import { type Gpa, OperatingError } from '@nvmx/guest-memory';
import { drive, type Op } from '@nvmx/sync';
import { expect } from 'vitest';
import type { HeldPage } from '../page-backend.ts';
import type { ContractCase } from './case.ts';
import { type Fixture, nowhere, pageA, pageB, plainSlot } from './fixture.ts';

type Step = (f: Fixture, page: HeldPage) => void;

/** Everything that can happen to one page. */
const steps: Readonly<Record<string, Step>> = {
  'hold A': (_f, page) => attempt(page.hold(pageA)),
  'hold B': (_f, page) => attempt(page.hold(pageB)),
  'hold nowhere': (_f, page) => attempt(page.hold(nowhere)),
  'try A': (_f, page) => void page.tryHold(pageA),
  use: (_f, page) => {
    if (page.beginUse()) page.endUse({ wrote: true });
  },
  'release dirty': (_f, page) => page.release({ dirty: true }),
  deactivate: (_f, page) => drive(page.deactivate()),
  'discard A': (f) => drive(f.host.discard(f.rangeOf(pageA))),
};

function attempt(op: Op<unknown>): void {
  try {
    drive(op);
  } catch (error) {
    if (!(error instanceof OperatingError)) throw error;
  }
}

/** I4: each mapping is unmapped exactly once; pins, statistics. */
export const balanceCases: readonly ContractCase[] = [
  {
    title: `every sequence of three steps keeps at most one mapping and at most one pin: ${Object.keys(steps).join(', ')}`,
    run(f) {
      const page = f.open();
      const names = Object.keys(steps);
      for (const first of names) {
        for (const second of names) {
          for (const third of names) {
            for (const name of [first, second, third]) steps[name]!(f, page);
            const { maps, unmaps } = f.backend.statistics;
            expect(maps - unmaps, `mappings after ${first}, ${second}, ${third}`).toBe(f.memory.liveMappings);
            expect(f.memory.liveMappings).toBeLessThanOrEqual(1);
          }
        }
      }
    },
  },
  {
    title: 'deactivate() gives everything up, does nothing a second time, and a later hold starts anew',
    run(f) {
      const page = f.held();
      const stamp = page.stamp();
      for (let i = 0; i < 2; i++) {
        drive(page.deactivate());
        f.expectNothingHeld(page);
        expect(page.isCurrent(stamp)).toBe(false);
        expect(page.tryHold(pageA)).toBe(false);
        expect(f.memory.liveMappings).toBe(0);
      }
      f.hold(page);
      expect(page.isCurrent(stamp), 'a stamp from before deactivate()').toBe(false);
      f.expectCurrent(page);
    },
  },
  {
    title: 'release() with nothing held does nothing',
    run(f) {
      const page = f.open();
      page.release({ dirty: true });
      f.hold(page);
      page.release({ dirty: false });
      page.release({ dirty: false });
      f.hold(page);
      f.expectCurrent(page);
    },
  },
  {
    title: 'close() unmaps every page of the backend, held, released or taken away, and a second close() does nothing',
    run(f) {
      const pages = Array.from({ length: plainSlot.pages }, (_, i) => f.held((plainSlot.gpa + i * 4096) as Gpa));
      pages[1]!.release({ dirty: true });
      drive(f.host.discard(f.rangeOf((plainSlot.gpa + 2 * 4096) as Gpa)));
      for (let i = 0; i < 2; i++) {
        drive(f.backend.close());
        expect(f.backend.statistics.unmaps).toBe(f.backend.statistics.maps);
        expect(f.memory.liveMappings).toBe(0);
      }
    },
  },
  {
    title: 'a managed frame is pinned while it is held, and only then',
    applies: (promises) => promises.pins,
    run(f) {
      if (f.memory.kind !== 'managed') return;
      const page = f.held();
      const { pfn } = page;
      expect(f.memory.frames.pinned(pfn)).toBe(true);
      expect(() => drive(f.host.migrate(f.hvaOf(pageA)))).toThrow('pinned');
      page.release({ dirty: false });
      expect(f.memory.frames.pinned(pfn)).toBe(false);
      drive(f.host.migrate(f.hvaOf(pageA)));
    },
  },
  {
    title: 'a held frame is not pinned and has one user: it can migrate and be freed',
    applies: (promises) => !promises.pins,
    run(f) {
      const page = f.held();
      const { pfn } = page;
      expect(f.memory.frames.pinned(pfn)).toBe(false);
      expect(f.memory.frames.references(pfn)).toBe(1);
      drive(f.host.discard(f.rangeOf(pageA)));
      expect(f.memory.frames.birth(pfn), 'the frame is free').toBe(0);
    },
  },
  {
    title: 'counters only grow: a map for the first hold, a check for a hit, a refresh for a miss',
    run(f) {
      const { statistics } = f.backend;
      const page = f.open();
      f.hold(page);
      expect(statistics.maps).toBe(1);
      expect(statistics.refreshes).toBeGreaterThan(0);
      const before = { ...statistics };
      page.tryHold(pageA);
      if (page.beginUse()) page.endUse();
      expect(statistics.checks).toBeGreaterThan(before.checks);
      expect(statistics).toMatchObject({ maps: before.maps, unmaps: before.unmaps, refreshes: before.refreshes });
      f.hold(page, pageB);
      expect(statistics.refreshes).toBeGreaterThan(before.refreshes);
      expect(statistics.maps).toBe(2);
      expect(statistics.unmaps).toBe(1);
      expect(statistics.invalidations).toBe(before.invalidations);
    },
  },
];
