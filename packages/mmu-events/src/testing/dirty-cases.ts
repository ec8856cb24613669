import { type Gpa, PAGE_SIZE } from '@nvmx/guest-memory';
import { drive } from '@nvmx/sync';
import { expect } from 'vitest';
import type { ContractCase } from './case.ts';
import { type Fixture, loggedPage, loggedSlot, pageA, plainSlot } from './fixture.ts';

const page3 = (loggedPage - loggedSlot.gpa) / PAGE_SIZE;

/** Takes what the fixture itself wrote, or what mapping the page for writing marked, out of the log. */
function cleanLog(f: Fixture): void {
  f.harvest();
}

/** The dirty log, and I8: a write is in the log before the harvest that must ship it. */
export const dirtyCases: readonly ContractCase[] = [
  {
    title: 'a use that wrote is in the log at its end (I8)',
    applies: (promises) => promises.dirtyLogged === 'end-of-use',
    run(f) {
      const page = f.held(loggedPage);
      cleanLog(f);
      f.store(page, 0, 1);
      expect(f.harvest()).toEqual([page3]);
    },
  },
  {
    title: 'a use that wrote may be missing from the log until release(), as documented',
    applies: (promises) => promises.dirtyLogged === 'release',
    run(f) {
      const page = f.held(loggedPage);
      cleanLog(f);
      f.store(page, 0, 1);
      expect(f.harvest()).toEqual([]);
      page.release({ dirty: true });
      expect(f.harvest()).toEqual([page3]);
    },
  },
  {
    title: 'a use that wrote is in the log after release(), also when the release says clean',
    applies: (promises) => promises.dirtyLogged === 'end-of-use',
    run(f) {
      const page = f.held(loggedPage);
      cleanLog(f);
      f.store(page, 0, 1);
      page.release({ dirty: false });
      expect(f.harvest()).toEqual([page3]);
    },
  },
  {
    title: 'each write after a harvest is in the next one',
    run(f) {
      const page = f.open();
      for (let i = 0; i < 4; i++) {
        f.hold(page, loggedPage);
        cleanLog(f);
        f.store(page, 0, i);
        page.release({ dirty: true });
        expect(f.harvest()).toEqual([page3]);
      }
    },
  },
  {
    title: 'a use that only read marks nothing, nor does a clean release',
    run(f) {
      const page = f.held(loggedPage);
      cleanLog(f);
      expect(f.load(page, 0)).toBe(0);
      expect(page.beginUse()).toBe(true);
      page.endUse({ wrote: false });
      page.release({ dirty: false });
      expect(f.harvest()).toEqual([]);
    },
  },
  {
    title: 'a dirty release marks what hardware wrote, without any use',
    run(f) {
      const page = f.held(loggedPage);
      cleanLog(f);
      page.release({ dirty: true });
      expect(f.harvest()).toEqual([page3]);
    },
  },
  {
    title: 'an unaligned gpa marks its own page: the last byte of the last page',
    run(f) {
      const last = loggedSlot.pages - 1;
      const page = f.held((loggedSlot.gpa + last * PAGE_SIZE + 0xfff) as Gpa);
      cleanLog(f);
      f.store(page, 0, 1);
      page.release({ dirty: true });
      expect(f.harvest()).toEqual([last]);
    },
  },
  {
    title: 'a write to a held page is logged from the moment that logging is turned on',
    run(f) {
      const page = f.held(pageA);
      drive(f.plainRegion({ logDirtyPages: true }));
      f.hold(page, pageA);
      f.harvest(plainSlot.slot);
      f.store(page, 0, 1);
      page.release({ dirty: true });
      expect(f.harvest(plainSlot.slot)).toEqual([0]);
    },
  },
  {
    title: 'a write to a slot that does not log is no error',
    run(f) {
      const page = f.held(pageA);
      f.store(page, 0, 1);
      page.release({ dirty: true });
      expect(() => f.harvest(plainSlot.slot)).toThrow('does not log');
    },
  },
];
