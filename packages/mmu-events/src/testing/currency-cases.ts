import { type Gpa, PAGE_SIZE } from '@nvmx/guest-memory';
import { drive, type Op } from '@nvmx/sync';
import { expect } from 'vitest';
import type { HeldPage } from '../page-backend.ts';
import type { ContractCase } from './case.ts';
import { type Fixture, nowhere, pageA, pageB, plainSlot, runUntil, runUntilBlocked } from './fixture.ts';
import type { BackendPromises } from './promises.ts';

const moved = 0x60_0000 as Gpa;

function staysCurrent(promises: BackendPromises): boolean {
  return promises.current;
}

/** Expects that neither L0 nor hardware may use what was held, and that it says so without being asked to sleep. */
function expectTakenAway(page: HeldPage, stamp: number): void {
  expect(page.isCurrent(stamp), 'isCurrent() after the event').toBe(false);
  expect(page.beginUse(), 'beginUse() after the event').toBe(false);
  expect(page.tryHold(pageA), 'tryHold() after the event').toBe(false);
}

/** One host event that takes page A away, and expects that a new hold finds what is there now. */
function takenAwayBy(title: string, event: (f: Fixture) => Op<unknown>, value: number): ContractCase {
  return {
    title: `${title} takes a held page away, and holding it again finds ${value === 0 ? 'zeros' : 'the bytes'}`,
    applies: staysCurrent,
    run(f) {
      const page = f.held();
      f.store(page, 0x10, 77);
      const stamp = page.stamp();
      drive(event(f));
      expectTakenAway(page, stamp);
      f.hold(page);
      expect(page.isCurrent(stamp), 'the stamp from before the event').toBe(false);
      f.expectCurrent(page);
      expect(f.load(page, 0x10)).toBe(value);
    },
  };
}

/** Currency: what a backend says after host events and memslot updates. */
export const currencyCases: readonly ContractCase[] = [
  takenAwayBy('discard', (f) => f.host.discard(f.rangeOf(pageA)), 0),
  takenAwayBy('the OOM reaper', (f) => f.host.reap(f.rangeOf(pageA)), 0),
  takenAwayBy('migrate', (f) => f.host.migrate(f.hvaOf(pageA)), 77),
  takenAwayBy('copy-on-write', (f) => f.host.copyOnWrite(f.hvaOf(pageA)), 77),
  takenAwayBy('protect', (f) => f.host.protect(f.rangeOf(pageA), { writable: true }), 77),
  takenAwayBy('a range that only contains it', (f) => f.host.discard(wholeSlot(f)), 0),
  takenAwayBy('a move of its memslot and back', moveAndBack, 77),
  {
    title: 'KSM takes a held page away, and what is then written to it stays out of the page it was merged with (I12)',
    applies: staysCurrent,
    run(f) {
      f.setGuestU32(pageB, 5);
      f.setGuestU32(pageA, 5);
      const page = f.held();
      const stamp = page.stamp();
      drive(f.host.merge({ keep: f.hvaOf(pageB), drop: f.hvaOf(pageA) }));
      expectTakenAway(page, stamp);
      f.hold(page);
      f.expectCurrent(page);
      f.store(page, 0, 6);
      expect([f.guestU32(pageA), f.guestU32(pageB)]).toEqual([6, 5]);
    },
  },
  {
    title: 'a frame number that comes back under another life is not the page that was programmed (ABA)',
    applies: staysCurrent,
    run(f) {
      const page = f.held();
      const [stamp, pfn] = [page.stamp(), page.pfn];
      drive(f.host.discard(f.rangeOf(pageA)));
      drive(f.host.fault(f.hvaOf(pageA), { write: true }));
      expect(f.pfnOf(pageA), 'the freed frame is handed out again at once').toBe(pfn);
      expect(page.isCurrent(stamp)).toBe(false);
      f.hold(page);
      expect(page.pfn).toBe(pfn);
      expect(page.isCurrent(stamp), 'healed by a later hold, and still not what was programmed').toBe(false);
      f.expectCurrent(page);
    },
  },
  {
    title: 'healing one page does not heal another of the same gpa',
    applies: staysCurrent,
    run(f) {
      const [hardware, reader] = [f.held(pageA, { vcpu: 0 }), f.held(pageA, { vcpu: 1 })];
      const stamp = hardware.stamp();
      drive(f.host.migrate(f.hvaOf(pageA)));
      f.hold(reader);
      f.expectCurrent(reader);
      expect(hardware.isCurrent(stamp)).toBe(false);
      expect(hardware.beginUse()).toBe(false);
    },
  },
  {
    title: 'an event on another page leaves the page alone',
    applies: staysCurrent,
    run(f) {
      const page = f.held();
      f.setGuestU32(pageB, 1);
      const [stamp, invalidations] = [page.stamp(), f.backend.statistics.invalidations];
      drive(f.host.discard(f.rangeOf(pageB)));
      expect(page.isCurrent(stamp)).toBe(true);
      expect(page.tryHold(pageA)).toBe(true);
      expect(f.backend.statistics.invalidations).toBe(invalidations);
    },
  },
  {
    title: 'an update of another memslot may cost a hold, and neither a mapping nor the page',
    applies: staysCurrent,
    run(f) {
      const page = f.held();
      f.store(page, 0, 9);
      const { maps } = f.backend.statistics;
      const region = { slot: 9, gpa: nowhere, bytes: PAGE_SIZE, hva: f.host.mmap({ pages: 1 }) };
      drive(f.vm.setMemoryRegion(region));
      f.hold(page);
      f.expectCurrent(page);
      expect(f.load(page, 0)).toBe(9);
      expect(f.backend.statistics.maps).toBe(maps);
    },
  },
  {
    title: 'a moved memslot: the old gpa is nowhere, the new one is the same frame',
    applies: staysCurrent,
    run(f) {
      const page = f.held();
      f.store(page, 0, 31);
      const [stamp, pfn] = [page.stamp(), page.pfn];
      drive(f.plainRegion({ gpa: moved }));
      expectTakenAway(page, stamp);
      f.holdFails(page, pageA, f.promises.failures.noMemslot);
      f.hold(page, moved);
      expect(page.pfn).toBe(pfn);
      expect(f.load(page, 0)).toBe(31);
    },
  },
  {
    title: 'a memslot replaced by one over other host memory: the page of the new one',
    applies: staysCurrent,
    run(f) {
      const page = f.held();
      f.store(page, 0, 31);
      const stamp = page.stamp();
      drive(f.plainRegion({ bytes: 0 }));
      expectTakenAway(page, stamp);
      drive(f.plainRegion({ hva: f.host.mmap({ pages: plainSlot.pages }) }));
      expectTakenAway(page, stamp);
      f.hold(page);
      f.expectCurrent(page);
      expect(f.load(page, 0)).toBe(0);
    },
  },
  {
    title: 'an invalidation waits for a use under way, and the use sees the old page to its end (I2)',
    applies: staysCurrent,
    run(f) {
      const page = f.held();
      f.store(page, 0, 8);
      expect(page.beginUse()).toBe(true);
      const event = f.host.discard(f.rangeOf(pageA));
      expect(runUntilBlocked(event), 'the event waits').toBe(true);
      expect(page.pfn).toBe(f.pfnOf(pageA));
      expect(page.view.u32(0)).toBe(8);
      page.endUse();
      drive(event);
      expect(page.beginUse()).toBe(false);
    },
  },
  {
    title: 'a hold between the start and the end of an invalidation waits, and finds the page of after (I3)',
    applies: staysCurrent,
    run(f) {
      const page = f.held();
      const event = f.host.migrate(f.hvaOf(pageA));
      expect(runUntil(event, () => f.vm.notifier.inProgress === 1)).toBe(true);
      const hold = page.hold(pageA);
      expect(runUntilBlocked(hold), 'the hold waits').toBe(true);
      expect(page.beginUse()).toBe(false);
      expect(page.tryHold(pageA)).toBe(false);
      drive(event);
      expect(drive(hold)).toEqual({ ok: true });
      f.expectCurrent(page);
    },
  },
  {
    title: 'an invalidation is counted once for a page that it takes away, and for no other',
    applies: staysCurrent,
    run(f) {
      f.held(pageB);
      f.held(pageA);
      const { invalidations } = f.backend.statistics;
      drive(f.host.discard(f.rangeOf(pageA)));
      drive(f.host.discard(f.rangeOf(pageA)));
      expect(f.backend.statistics.invalidations).toBe(invalidations + 1);
    },
  },
];

function wholeSlot(f: Fixture): { start: HvaOf; end: HvaOf } {
  const start = f.hvaOf(pageA);
  return { start, end: (start + plainSlot.pages * PAGE_SIZE) as HvaOf };
}

type HvaOf = ReturnType<Fixture['hvaOf']>;

function* moveAndBack(f: Fixture): Op<void> {
  yield* f.plainRegion({ gpa: moved });
  yield* f.plainRegion();
}
