import { PAGE_SIZE } from '@nvmx/guest-memory';
import { drive } from '@nvmx/sync';
import { describe, expect, test } from 'vitest';
import { Task } from './support/task.ts';
import { at, eventOf, loggedGpa, slotGpa, unmanagedMemory, World } from './support/world.ts';

describe('check', () => {
  test('the bytes from the address to the end of the page are in, and one more is not', () => {
    const world = new World();
    const cache = world.cache();
    for (const offset of [0, 1, 8, 0x800, 0xffe, 0xfff]) {
      drive(cache.activate(at(slotGpa, offset), 1));
      expect(cache.beginUse()).toBe(true);
      expect(cache.check(PAGE_SIZE - offset)).toBe(true);
      expect(cache.check(PAGE_SIZE - offset + 1)).toBe(false);
      cache.endUse();
    }
    world.finish(cache);
  });

  test('false for an inactive cache, an invalid one, and other memslots', () => {
    const world = new World();
    const cache = world.active();
    expect(cache.check(4)).toBe(true);
    drive(world.setSlot({ gpa: 0x60_0000 }));
    expect(cache.check(4), 'other memslots').toBe(false);
    expect(cache.valid, 'the host has not moved the page').toBe(true);
    drive(world.setSlot());
    expect(cache.check(4), 'the same slot again, under another generation').toBe(false);
    drive(cache.refresh(4));
    expect(cache.check(4)).toBe(true);
    drive(cache.invalidateRange(eventOf(world.range(0))));
    expect(cache.check(4), 'invalid').toBe(false);
    drive(cache.refresh(4));
    drive(cache.deactivate());
    expect(cache.check(4), 'inactive').toBe(false);
    world.finish(cache);
  });

  test('a translation made while an update is in progress is stale after it', () => {
    const world = new World();
    const cache = world.active();
    const update = new Task(world.setSlot({ gpa: 0x60_0000 })).until(() => world.vm.memslots.updateInProgress);
    expect(drive(cache.refresh(4))).toMatchObject({ ok: false, code: 'EFAULT' });
    update.finish();
    expect(drive(cache.refresh(4))).toMatchObject({ ok: false, code: 'EFAULT' });
    expect(drive(cache.activate(at(0x60_0000, 0), 4))).toMatchObject({ ok: true });
    const stamp = cache.stamp();
    const other = { slot: 9, gpa: 0x70_0000, bytes: PAGE_SIZE, hva: world.plainHva };
    const create = new Task(world.vm.setMemoryRegion(other)).until(() => world.vm.memslots.updateInProgress);
    expect(drive(cache.refresh(4))).toMatchObject({ ok: true });
    expect(cache.isCurrent(stamp)).toBe(false);
    const during = cache.stamp();
    expect(cache.isCurrent(during)).toBe(true);
    create.finish();
    expect(cache.isCurrent(during)).toBe(false);
    expect(cache.check(4)).toBe(false);
    world.finish(cache);
  });
});

describe('beginUse .. endUse', () => {
  test('shows the bytes of the page at the offset of the address', () => {
    const memories = [undefined, unmanagedMemory()];
    for (const memory of memories) {
      const world = new World(memory === undefined ? {} : { memory });
      drive(world.vm.writeGuest(at(slotGpa, 0x44), new Uint8Array([1, 2, 3, 4])));
      const cache = world.active(at(slotGpa, 0x44));
      expect(cache.beginUse()).toBe(true);
      expect(cache.view.u32(cache.offset)).toBe(0x0403_0201);
      cache.view.setU32(cache.offset, 5);
      cache.endUse({ wrote: true });
      const bytes = new Uint8Array(4);
      drive(world.vm.readGuest(at(slotGpa, 0x44), bytes));
      expect([...bytes]).toEqual([5, 0, 0, 0]);
      world.finish(cache);
    }
  });

  test('fails and holds nothing while a writer has the lock, and while one waits for it', () => {
    const world = new World();
    const cache = world.active();
    expect(cache.beginUse()).toBe(true);
    const event = new Task(world.host.discard(world.range(0)));
    expect(event.blocks(), 'the event waits for the reader').toBe(true);
    expect(cache.beginUse(), 'a queued writer keeps new readers out').toBe(false);
    cache.endUse();
    expect(cache.lock.readers).toBe(0);
    event.finish();
    world.finish(cache);
  });

  test('view, endUse() and markDirty() without the lock are programmer errors', () => {
    const world = new World();
    const cache = world.active();
    expect(() => cache.view).toThrow('without the lock');
    expect(() => cache.endUse()).toThrow();
    expect(() => cache.markDirty()).toThrow('without the lock');
    world.finish(cache);
  });

  test('the view of a cache without a page has no bytes', () => {
    const world = new World();
    const cache = world.active();
    drive(cache.deactivate());
    expect(cache.lock.tryRead()).toBe(true);
    expect(cache.view.length).toBe(0);
    expect(() => cache.view.u8(0)).toThrow();
    cache.lock.endRead();
    world.finish(cache);
  });

  test('a write is in the dirty log before the lock is dropped; a read marks nothing (I8)', () => {
    const world = new World();
    const cache = world.active(at(loggedGpa, 5 * PAGE_SIZE + 12));
    world.harvest();
    expect(cache.beginUse()).toBe(true);
    cache.endUse({ wrote: false });
    expect(world.harvest()).toEqual([]);
    expect(cache.beginUse()).toBe(true);
    cache.markDirty();
    expect(world.harvest()).toEqual([5]);
    cache.endUse({ wrote: true });
    expect(world.harvest()).toEqual([5]);
    world.finish(cache);
  });

  test('a write that began before its memslot moved is in the log of the moved slot', () => {
    const world = new World();
    const cache = world.active(at(loggedGpa, PAGE_SIZE));
    world.harvest();
    const token = world.vm.srcu.enter();
    expect(cache.beginUse()).toBe(true);
    const move = { slot: 2, gpa: 0x90_0000, bytes: 8 * PAGE_SIZE, hva: world.loggedHva, logDirtyPages: true };
    const update = new Task(world.vm.setMemoryRegion(move));
    expect(update.blocks(), 'the update waits for the reader (SRCU)').toBe(true);
    cache.endUse({ wrote: true });
    world.vm.srcu.exit(token);
    update.finish();
    expect(world.harvest()).toEqual([1]);
    world.finish(cache);
  });

  test('a use of a slot that was freed, outside of SRCU, is caught (I6)', () => {
    const world = new World();
    const cache = world.active(loggedGpa);
    expect(cache.beginUse()).toBe(true);
    drive(world.vm.setMemoryRegion({ slot: 2, gpa: loggedGpa, bytes: 0, hva: world.loggedHva }));
    expect(() => cache.endUse({ wrote: true })).toThrow('freed');
    cache.endUse();
    world.finish(cache);
  });
});

describe('stamps', () => {
  test('the same while nothing happens, through hits, refreshes of a valid cache and foreign events', () => {
    const world = new World();
    const cache = world.active();
    const stamp = cache.stamp();
    expect(stamp).not.toBe(0);
    for (let i = 0; i < 3; i++) {
      expect(drive(cache.refresh(4))).toMatchObject({ ok: true, stamp });
      expect(drive(cache.activate(slotGpa, 4))).toMatchObject({ ok: true, stamp });
      expect(cache.isCurrent(stamp)).toBe(true);
      drive(world.host.discard(world.range(1)));
    }
    world.finish(cache);
  });

  test('a page that was invalidated and validated again is not what was programmed, though valid says yes (S-1)', () => {
    const world = new World();
    const cache = world.active();
    const stamp = cache.stamp();
    drive(world.host.discard(world.range(0)));
    expect(drive(cache.refresh(4))).toMatchObject({ ok: true });
    expect([cache.active, cache.valid]).toEqual([true, true]);
    expect(cache.isCurrent(stamp)).toBe(false);
    expect(cache.isCurrent(cache.stamp())).toBe(true);
    world.finish(cache);
  });

  test('a memslot that goes makes the stamp stale, though no notifier ran (S-12)', () => {
    const world = new World();
    const cache = world.active();
    const stamp = cache.stamp();
    drive(world.setSlot({ bytes: 0 }));
    expect([cache.valid, world.host.translate(world.slotHva)]).toEqual([true, cache.pfn]);
    expect(cache.isCurrent(stamp)).toBe(false);
    drive(world.setSlot());
    expect(drive(cache.refresh(4))).toMatchObject({ ok: true });
    expect(cache.isCurrent(stamp), 'the same page, under other memslots').toBe(false);
    world.finish(cache);
  });

  test('no stamp but the current one is current, through a hundred lives of the page', () => {
    const world = new World();
    const cache = world.active();
    const stamps = new Set<number>();
    for (let i = 0; i < 100; i++) {
      expect(cache.isCurrent(cache.stamp())).toBe(true);
      for (const old of stamps) expect(cache.isCurrent(old)).toBe(false);
      expect(stamps.has(cache.stamp())).toBe(false);
      stamps.add(cache.stamp());
      drive(world.host.discard(world.range(0)));
      drive(cache.refresh(4));
    }
    world.finish(cache);
  });

  test('asking takes no lock: it works under a writer and under a reader', () => {
    const world = new World();
    const cache = world.active();
    const stamp = cache.stamp();
    expect(cache.lock.tryWrite()).toBe(true);
    expect(cache.isCurrent(stamp)).toBe(true);
    cache.lock.endWrite();
    expect(cache.beginUse()).toBe(true);
    expect(cache.isCurrent(stamp)).toBe(true);
    cache.endUse();
    world.finish(cache);
  });
});
