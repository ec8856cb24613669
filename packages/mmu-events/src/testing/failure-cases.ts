import { type Gpa, gpaToGfn, PAGE_SIZE } from '@nvmx/guest-memory';
import { drive } from '@nvmx/sync';
import { expect } from 'vitest';
import type { ContractCase } from './case.ts';
import { emptySlot, nowhere, pageA, plainSlot, readOnlySlot, runUntil } from './fixture.ts';

const plainEnd = (plainSlot.gpa + plainSlot.pages * PAGE_SIZE) as Gpa;

/** What cannot be held, with which code, and what is left behind. */
export const failureCases: readonly ContractCase[] = [
  {
    title: 'no memslot: the promised code, just before, just after, and at the last guest page',
    run(f) {
      for (const gpa of [0, plainSlot.gpa - PAGE_SIZE, plainEnd, nowhere, 2 ** 52 - PAGE_SIZE, 2 ** 52 - 1]) {
        f.holdFails(f.open(), gpa as Gpa, f.promises.failures.noMemslot);
      }
      f.expectCurrent(f.held((plainEnd - 1) as Gpa), (plainEnd - PAGE_SIZE) as Gpa);
    },
  },
  {
    title: 'a memslot with nothing mapped behind it: the promised code',
    run(f) {
      f.holdFails(f.open(), emptySlot.gpa as Gpa, f.promises.failures.noHostPage);
      f.holdFails(f.open({ access: 'read' }), emptySlot.gpa as Gpa, f.promises.failures.noHostPage);
    },
  },
  {
    title: 'write access to a read-only memslot: the promised code',
    run(f) {
      f.holdFails(f.open({ access: 'write' }), readOnlySlot.gpa as Gpa, f.promises.failures.readOnlySlot);
    },
  },
  {
    title: 'write access to a read-only host mapping: the code of a missing host page',
    run(f) {
      drive(f.host.protect(f.rangeOf(pageA), { writable: false }));
      f.holdFails(f.open({ access: 'write' }), pageA, f.promises.failures.noHostPage);
      f.expectCurrent(f.held(pageA, { access: 'read' }));
    },
  },
  {
    title: 'a slot that is being deleted is no slot',
    run(f) {
      const update = f.plainRegion({ bytes: 0 });
      const page = f.open();
      const invalid = (): boolean => f.vm.memslots.find(gpaToGfn(pageA))?.invalid === true;
      expect(runUntil(update, invalid)).toBe(true);
      f.holdFails(page, pageA, f.promises.failures.noMemslot);
      drive(update);
      f.holdFails(page, pageA, f.promises.failures.noMemslot);
    },
  },
  {
    title: 'a failed hold gives up what was held before it',
    run(f) {
      const page = f.held();
      f.holdFails(page, nowhere, f.promises.failures.noMemslot);
      expect(f.backend.statistics.unmaps).toBe(f.backend.statistics.maps);
      expect(page.tryHold(pageA)).toBe(false);
      f.expectNothingHeld(page);
      f.hold(page);
      f.expectCurrent(page);
    },
  },
  {
    title: 'a page that failed can be held as soon as its memslot is there',
    run(f) {
      const page = f.open();
      f.holdFails(page, nowhere, f.promises.failures.noMemslot);
      const region = { slot: 9, gpa: nowhere, bytes: PAGE_SIZE, hva: f.host.mmap({ pages: 1 }) };
      drive(f.vm.setMemoryRegion(region));
      f.hold(page, nowhere);
      f.expectCurrent(page, nowhere);
    },
  },
  {
    title: 'no free frame for the page: the promised failure, and no harm done',
    run(f) {
      const giveBack = f.exhaustFrames();
      const page = f.open();
      f.holdFails(page, pageA, f.promises.failures.outOfMemory);
      expect(f.backend.statistics.unmaps).toBe(f.backend.statistics.maps);
      giveBack();
      f.hold(page);
      f.expectCurrent(page);
    },
  },
  {
    title: 'a closed backend holds nothing: EIO, and no hit',
    run(f) {
      const [held, fresh] = [f.held(), f.open()];
      const stamp = held.stamp();
      drive(f.backend.close());
      expect(held.isCurrent(stamp)).toBe(false);
      for (const page of [held, fresh]) {
        f.expectNothingHeld(page);
        expect(page.tryHold(pageA)).toBe(false);
        f.holdFails(page, pageA, 'EIO');
      }
      drive(f.backend.close());
    },
  },
];
