import { type Gpa, PAGE_SIZE } from '@nvmx/guest-memory';
import { drive } from '@nvmx/sync';
import { expect } from 'vitest';
import type { PageRole } from '../page-backend.ts';
import type { ContractCase } from './case.ts';
import { pageA, pageB, plainSlot, readOnlySlot } from './fixture.ts';

const roles: readonly PageRole[] = ['msr-bitmap', 'apic-access', 'virtual-apic', 'pi-desc', 'evmcs'];

/** Finding a page: hit, miss, another page, any offset. */
export const holdCases: readonly ContractCase[] = [
  {
    title: 'a fresh page holds nothing: no hit, no use, no frame',
    run(f) {
      const page = f.open();
      expect(page.tryHold(pageA)).toBe(false);
      f.expectNothingHeld(page);
      expect(page.isCurrent(0)).toBe(false);
      expect(f.backend.statistics).toMatchObject({ maps: 0, unmaps: 0 });
    },
  },
  {
    title: 'a page keeps its request, and the backend has a name',
    run(f) {
      for (const role of roles) {
        const request = { role, vcpu: 3, access: 'read', usedByHardware: role !== 'evmcs' } as const;
        expect(f.backend.openPage(request).request).toEqual(request);
      }
      expect(f.backend.name).not.toBe('');
    },
  },
  {
    title: 'hold() finds the frame of the guest page, for every role and access',
    run(f) {
      for (const role of roles) {
        for (const access of ['read', 'write'] as const) f.expectCurrent(f.held(pageA, { role, access }));
      }
    },
  },
  {
    title: 'the view shows what the guest wrote, and the guest sees what is written through it',
    run(f) {
      f.setGuestU32((pageA + 0x120) as Gpa, 0xcafe_f00d);
      const page = f.held();
      expect(f.load(page, 0x120)).toBe(0xcafe_f00d);
      f.store(page, 0xffc, 0x1234_5678);
      page.release({ dirty: true });
      expect(f.guestU32((pageA + 0xffc) as Gpa)).toBe(0x1234_5678);
    },
  },
  {
    title: 'an unaligned gpa holds the page that contains it, and the view begins at the page: offsets 1 .. 4095',
    run(f) {
      for (const offset of [1, 7, 8, 63, 64, 0x7ff, 0x800, 0xfff]) {
        f.setGuestU32((pageA + 0x40) as Gpa, offset);
        const page = f.open();
        f.hold(page, (pageA + offset) as Gpa);
        expect(page.pfn).toBe(f.pfnOf(pageA));
        expect(page.beginUse()).toBe(true);
        expect(page.view.length).toBe(PAGE_SIZE);
        expect(page.view.u32(0x40)).toBe(offset);
        page.endUse();
      }
    },
  },
  {
    title: 'tryHold() of the held gpa is a hit, and never sleeps or maps',
    run(f) {
      const page = f.held();
      const { maps } = f.backend.statistics;
      expect(page.tryHold(pageA)).toBe(true);
      f.expectCurrent(page);
      expect(f.backend.statistics.maps).toBe(maps);
    },
  },
  {
    title: 'tryHold() of another page is a miss and changes nothing',
    run(f) {
      const page = f.held();
      const stamp = page.stamp();
      expect(page.tryHold(pageB)).toBe(false);
      expect(page.gpa).toBe(pageA);
      expect(page.stamp()).toBe(stamp);
      f.expectCurrent(page);
    },
  },
  {
    title: 'tryHold() of another offset in the page is a miss, or holds that gpa',
    run(f) {
      const page = f.held();
      const other = (pageA + 0x40) as Gpa;
      expect(page.gpa).toBe(page.tryHold(other) ? other : pageA);
      f.hold(page, other);
      f.expectCurrent(page);
    },
  },
  {
    title: 'hold() of another page gives the old one up: one mapping, and the old stamp is dead',
    run(f) {
      const page = f.held(pageA);
      const stamp = page.stamp();
      f.setGuestU32(pageB, 0xb0b);
      f.hold(page, pageB);
      expect(page.isCurrent(stamp)).toBe(false);
      expect(f.load(page, 0)).toBe(0xb0b);
      f.expectCurrent(page, pageB);
      expect(f.backend.statistics.maps - f.backend.statistics.unmaps).toBe(1);
    },
  },
  {
    title: 'hold() of the held page again is right, and keeps one mapping',
    run(f) {
      const page = f.held();
      for (let i = 0; i < 3; i++) f.hold(page);
      f.expectCurrent(page);
      expect(f.backend.statistics.maps - f.backend.statistics.unmaps).toBe(1);
    },
  },
  {
    title: 'a stamp is never 0, and stays the same while nothing happens',
    run(f) {
      const page = f.held();
      const stamp = page.stamp();
      expect(stamp).not.toBe(0);
      f.store(page, 0, 1);
      expect(page.tryHold(pageA)).toBe(true);
      expect(page.stamp()).toBe(stamp);
      expect(page.isCurrent(stamp)).toBe(true);
      expect(page.isCurrent(0)).toBe(false);
    },
  },
  {
    title: 'a released page is held again: by a hit without a new mapping where pages are kept, by a map where not',
    run(f) {
      const page = f.held();
      const { maps } = f.backend.statistics;
      page.release({ dirty: false });
      expect(page.tryHold(pageA)).toBe(f.promises.keepsPages);
      f.hold(page);
      f.expectCurrent(page);
      expect(f.backend.statistics.maps).toBe(f.promises.keepsPages ? maps : maps + 1);
    },
  },
  {
    title: 'every page of a slot holds its own frame',
    run(f) {
      const pages = Array.from({ length: plainSlot.pages }, (_, i) => (plainSlot.gpa + i * PAGE_SIZE) as Gpa);
      const held = pages.map((gpa) => f.held(gpa));
      for (const [i, page] of held.entries()) f.store(page, 0, i + 1);
      for (const page of held) page.release({ dirty: true });
      expect(pages.map((gpa) => f.guestU32(gpa))).toEqual(pages.map((_, i) => i + 1));
    },
  },
  {
    title: 'two pages of one gpa show the same bytes, and deactivating one leaves the other alone',
    run(f) {
      const [first, second] = [f.held(pageA, { vcpu: 0 }), f.held(pageA, { vcpu: 1 })];
      f.store(first, 0, 42);
      expect(f.load(second, 0)).toBe(42);
      drive(first.deactivate());
      f.expectNothingHeld(first);
      f.expectCurrent(second);
    },
  },
  {
    title: 'a read-only memslot can be held for reading',
    run(f) {
      f.expectCurrent(f.held(readOnlySlot.gpa as Gpa, { access: 'read' }), readOnlySlot.gpa as Gpa);
    },
  },
];
