import type { Gpa } from '@nvmx/guest-memory';
import { drive, type Op } from '@nvmx/sync';
import { expect } from 'vitest';
import type { ContractCase } from './case.ts';
import { pageA, pageB } from './fixture.ts';

/** The discipline of a use, and who is told of it. */
export const useCases: readonly ContractCase[] = [
  {
    title: 'the view is there during a use and at no other time, and a use ends once',
    run(f) {
      const page = f.held();
      expect(() => page.view).toThrow();
      expect(() => page.endUse()).toThrow();
      expect(page.beginUse()).toBe(true);
      expect(page.view.length).toBe(4096);
      page.endUse();
      expect(() => page.view).toThrow();
      expect(() => page.endUse()).toThrow();
    },
  },
  {
    title: 'a use can follow a use: a hundred of them, none left open',
    run(f) {
      const page = f.held();
      for (let i = 0; i < 100; i++) f.store(page, 4 * i, i);
      drive(page.deactivate());
      expect(f.guestU32((pageA + 4 * 99) as Gpa)).toBe(99);
    },
  },
  {
    title: 'the observer sees every use that began, with the page, the gpa of the hold and its frame',
    run(f) {
      const seen: unknown[] = [];
      const page = f.open();
      f.backend.observe({ l0Access: (held, gpa, pfn) => seen.push([held === page, gpa, pfn]) });
      expect(page.beginUse()).toBe(false);
      expect(seen).toEqual([]);
      const gpa = (pageB + 0x40) as Gpa;
      f.hold(page, gpa);
      f.load(page, 0);
      f.store(page, 0, 1);
      expect(seen).toEqual([
        [true, gpa, f.pfnOf(pageB)],
        [true, gpa, f.pfnOf(pageB)],
      ]);
    },
  },
  {
    title: 'an observer can be changed and taken off, also for pages that are open already',
    run(f) {
      const counts = [0, 0];
      const page = f.held();
      f.backend.observe({ l0Access: () => counts[0]!++ });
      f.load(page, 0);
      f.backend.observe({ l0Access: () => counts[1]!++ });
      f.load(page, 0);
      f.load(page, 0);
      f.backend.observe(undefined);
      f.load(page, 0);
      expect(counts).toEqual([1, 2]);
    },
  },
  {
    title: 'no use that begins sees another frame than the guest has, through every kind of event',
    applies: (promises) => promises.current,
    run(f) {
      let stale = 0;
      f.backend.observe({ l0Access: (_page, gpa, pfn) => void (pfn === f.pfnOf(gpa) || stale++) });
      const page = f.open();
      const events: (() => Op<unknown>)[] = [
        () => f.host.discard(f.rangeOf(pageA)),
        () => f.host.migrate(f.hvaOf(pageA)),
        () => f.host.copyOnWrite(f.hvaOf(pageA)),
        () => f.plainRegion({ gpa: 0x60_0000 }),
        () => f.plainRegion(),
      ];
      for (const event of events) {
        drive(page.hold(pageA));
        if (page.beginUse()) page.endUse();
        drive(event());
        if (page.beginUse()) page.endUse();
      }
      expect(stale).toBe(0);
    },
  },
];
