import { PAGE_SIZE } from '@nvmx/guest-memory';
import { DeadlockError, drive, LockOrder, setLockObserver } from '@nvmx/sync';
import { afterEach, describe, expect, test } from 'vitest';
import { pointsOf, Task } from './support/task.ts';
import { at, eventOf, slotGpa, slotPages, unmanagedMemory, World } from './support/world.ts';

afterEach(() => setLockObserver(undefined));

describe('refresh, step by step', () => {
  test('R1: a range that crosses the page is EINVAL and changes nothing', () => {
    const world = new World();
    const cache = world.active(at(slotGpa, 8));
    expect(drive(cache.refresh(PAGE_SIZE - 8))).toMatchObject({ ok: true });
    expect(drive(cache.refresh(PAGE_SIZE - 7))).toEqual({ ok: false, code: 'EINVAL' });
    expect(cache.valid).toBe(true);
    world.finish(cache);
  });

  test('R2: a cache that was never active, or is not any more, is EINVAL', () => {
    const world = new World();
    const cache = world.cache();
    expect(drive(cache.refresh(4))).toEqual({ ok: false, code: 'EINVAL' });
    drive(cache.activate(slotGpa, 4));
    drive(cache.deactivate());
    expect(drive(cache.refresh(4))).toEqual({ ok: false, code: 'EINVAL' });
    expect(cache.statistics).toMatchObject({ maps: 1, unmaps: 1, refreshes: 1 });
    world.finish(cache);
  });

  test('R3: other memslots, the same host page: translated anew, nothing resolved', () => {
    const world = new World();
    const cache = world.active();
    const { maps } = cache.statistics;
    drive(world.vm.setMemoryRegion({ slot: 9, gpa: 0x70_0000, bytes: PAGE_SIZE, hva: world.plainHva }));
    const points = pointsOf(cache.refresh(4));
    expect(points).not.toContain('gpc.refresh: lock dropped');
    expect(cache.generation).toBe(world.vm.memslots.tag);
    expect(cache.statistics.maps).toBe(maps);
    expect(cache.beginUse()).toBe(true);
    cache.endUse();
    world.finish(cache);
  });

  test('R3: a memslot over other host pages: the new page, the new mapping', () => {
    const world = new World();
    const cache = world.active();
    drive(world.setSlot({ bytes: 0 }));
    drive(world.setSlot({ hva: world.host.mmap({ pages: slotPages }) }));
    expect(drive(cache.refresh(4))).toMatchObject({ ok: true, pfn: world.pfnOf(slotGpa) });
    expect(cache.statistics).toMatchObject({ maps: 2, unmaps: 1 });
    world.finish(cache);
  });

  test('R4: a move inside the page follows with the offset, and resolves nothing (GPC-06, GPC-10)', () => {
    const world = new World();
    const cache = world.active(at(slotGpa, 0x10));
    const { refreshes } = cache.statistics;
    const points = pointsOf(cache.activate(at(slotGpa, 0xff0), 16));
    expect(points).not.toContain('gpc.refresh: lock dropped');
    expect(cache.offset).toBe(0xff0);
    expect(cache.statistics).toMatchObject({ maps: 1, unmaps: 0, refreshes: refreshes + 1 });
    world.finish(cache);
  });

  test('R5: the cache is not valid from before the lock is dropped until the page is known', () => {
    const world = new World();
    const cache = world.active();
    const refresh = new Task(cache.activate(at(slotGpa, PAGE_SIZE), 4)).to('gpc.refresh: lock dropped');
    expect(cache.valid).toBe(false);
    expect(cache.lock.writing).toBe(false);
    for (; !refresh.done && refresh.at !== 'gpc.refresh: done'; refresh.step()) expect(cache.valid).toBe(false);
    expect(cache.valid).toBe(true);
    refresh.finish();
    world.finish(cache);
  });

  test('R7: a page that is not there is faulted in, for reading or for writing as the access says', () => {
    for (const access of ['read', 'write'] as const) {
      const world = new World();
      expect(world.pfnOf(slotGpa)).toBeUndefined();
      const cache = world.cache({ access });
      drive(cache.activate(slotGpa, 4));
      expect(cache.pfn).toBe(world.pfnOf(slotGpa));
      world.finish(cache);
    }
  });

  test('R8: the same frame keeps its mapping; another one gets a new mapping and the old one goes', () => {
    const world = new World();
    const cache = world.active();
    drive(cache.invalidateRange(eventOf(world.range(0))));
    drive(cache.refresh(4));
    expect(cache.statistics).toMatchObject({ maps: 1, unmaps: 0 });
    drive(world.host.migrate(world.slotHva));
    drive(cache.refresh(4));
    expect(cache.statistics).toMatchObject({ maps: 2, unmaps: 1 });
    expect(world.memory.liveMappings).toBe(1);
    world.finish(cache);
  });

  test('R8: a page that cannot be mapped is EFAULT with ENOMEM as its cause, and leaves nothing behind', () => {
    const memory = unmanagedMemory({ windows: 1 });
    if (memory === undefined) return;
    const world = new World({ memory });
    const [first, second] = [world.active(), world.cache()];
    const outcome = drive(second.activate(at(slotGpa, PAGE_SIZE), 4));
    expect(outcome).toMatchObject({ ok: false, code: 'EFAULT', cause: { code: 'ENOMEM' } });
    expect(second).toMatchObject({ active: true, valid: false, pfn: undefined });
    drive(first.deactivate());
    expect(drive(second.refresh(4))).toMatchObject({ ok: true });
    world.finish(first, second);
  });

  test('R10: an invalidation that is under way keeps the refresh waiting, whatever its address', () => {
    const world = new World();
    const cache = world.cache();
    const event = new Task(world.host.discard({ start: world.plainHva, end: (world.plainHva + PAGE_SIZE) as never }));
    event.until(() => world.vm.notifier.activeCount === 1);
    const refresh = new Task(cache.activate(slotGpa, 4));
    expect(refresh.blocks()).toBe(true);
    expect(refresh.at).toBe('gpc.refresh: retry');
    expect([cache.valid, world.memory.liveMappings]).toEqual([false, 0]);
    event.finish();
    expect(refresh.finish()).toMatchObject({ ok: true, pfn: world.pfnOf(slotGpa) });
    world.finish(cache);
  });

  test('R10: an invalidation that ended since R6 sends the refresh back, at each place where it can come', () => {
    const places = ['gpc.refresh: lock dropped', 'gpc.refresh: pfn resolved', 'gpc.refresh: map', 'write gpc.lock'];
    for (const place of places) {
      const world = new World();
      const cache = world.active();
      drive(world.host.migrate(world.slotHva));
      const refresh = new Task(cache.refresh(4)).to('gpc.refresh: lock dropped');
      if (refresh.at !== place) refresh.to(place);
      drive(world.host.migrate(world.slotHva));
      expect(refresh.finish(), place).toMatchObject({ ok: true, pfn: world.pfnOf(slotGpa) });
      world.finish(cache);
    }
  });

  test('R10: nobody else runs: the wait is a deadlock that names itself', () => {
    const world = new World();
    const cache = world.active();
    const event = new Task(world.host.discard(world.range(0))).until(() => world.vm.notifier.activeCount === 1);
    expect(() => drive(world.active(at(slotGpa, PAGE_SIZE)).refresh(4))).toThrow(DeadlockError);
    event.finish();
    expect(cache.valid).toBe(false);
  });

  test('R11: no reference is kept, also when the mapping was reused (GPC-04, GPC-07)', () => {
    const world = new World();
    const cache = world.active();
    const { frames } = world.memory;
    expect(frames.references(cache.pfn!)).toBe(1);
    for (let i = 0; i < 3; i++) {
      drive(cache.invalidateRange(eventOf(world.range(0))));
      drive(cache.refresh(4));
      expect(frames.references(cache.pfn!)).toBe(1);
    }
    world.finish(cache);
  });

  test('R11: the page is held by a reference while it is resolved and not mapped', () => {
    const world = new World();
    const cache = world.cache();
    const activate = new Task(cache.activate(slotGpa, 4)).to('gpc.refresh: pfn resolved');
    const pfn = world.pfnOf(slotGpa)!;
    expect(world.memory.frames.references(pfn)).toBe(2);
    drive(world.host.discard(world.range(0)));
    expect(world.memory.frames.references(pfn), 'alive, though the host gave it up').toBe(1);
    activate.finish();
    expect(cache.pfn).toBe(world.pfnOf(slotGpa));
    world.finish(cache);
  });

  test('R11e: an error leaves no page, no mapping and nothing to give back twice (GPC-03)', () => {
    const world = new World();
    const cache = world.active();
    drive(world.setSlot({ bytes: 0 }));
    for (let i = 0; i < 3; i++) {
      expect(drive(cache.refresh(4))).toEqual({ ok: false, code: 'EFAULT' });
      expect(cache).toMatchObject({ valid: false, pfn: undefined, active: true });
      expect(cache.statistics).toMatchObject({ maps: 1, unmaps: 1 });
    }
    drive(world.setSlot());
    expect(drive(cache.refresh(4))).toMatchObject({ ok: true });
    world.finish(cache);
  });

  test('R12: the old mapping goes when no lock is held any more', () => {
    const world = new World();
    const cache = world.active();
    drive(world.host.migrate(world.slotHva));
    const refresh = new Task(cache.refresh(4)).to('gpc.unmap');
    expect(cache.valid).toBe(true);
    expect([cache.lock.writing, cache.lock.readers]).toEqual([false, 0]);
    expect(drive(cache.refresh(4)), 'the refreshLock is free as well').toMatchObject({ ok: true });
    expect(cache.statistics.unmaps).toBe(0);
    refresh.finish();
    expect(cache.statistics.unmaps).toBe(1);
    world.finish(cache);
  });

  test('success says that the page was right when the lock was dropped: the stamp tells whether it still is', () => {
    const world = new World();
    const cache = world.cache();
    const activate = new Task(cache.activate(slotGpa, 4)).to('gpc.refresh: done');
    drive(world.host.migrate(world.slotHva));
    const outcome = activate.finish();
    expect(outcome).toMatchObject({ ok: true });
    expect(outcome.ok && outcome.pfn).not.toBe(world.pfnOf(slotGpa));
    expect(outcome.ok && cache.isCurrent(outcome.stamp)).toBe(false);
    world.finish(cache);
  });
});

describe('locks', () => {
  test('no rw lock or spin lock is held where something may sleep, and the order has no cycle (I9)', () => {
    const order = new LockOrder();
    setLockObserver(order);
    const world = new World();
    const [cache, other] = [world.active(), world.active(at(slotGpa, PAGE_SIZE))];
    drive(world.host.migrate(world.slotHva));
    drive(cache.refresh(4));
    drive(world.host.reap(world.range(0, slotPages)));
    drive(cache.activate(at(slotGpa, PAGE_SIZE), 4));
    drive(world.setSlot({ bytes: 0 }));
    drive(other.refresh(4));
    drive(other.deactivate());
    order.taskEnds();
    expect(order.order().get('gpc.refreshLock')).toEqual(['gpc.lock']);
    expect(order.order().get('gpc_lock')).toEqual(['gpc.lock']);
    expect(order.order().get('gpc.lock'), 'innermost').toBeUndefined();
    world.finish(cache, other);
  });

  test('refresh, activate and deactivate may sleep: each is refused while a gpc lock is held (6.5, rule 4)', () => {
    const order = new LockOrder();
    setLockObserver(order);
    const world = new World();
    const [cache, other] = [world.active(), world.active(at(slotGpa, PAGE_SIZE))];
    expect(cache.beginUse()).toBe(true);
    expect(() => drive(other.refresh(4))).toThrow('may sleep');
    expect(() => drive(other.activate(slotGpa, 4))).toThrow('may sleep');
    expect(() => drive(other.deactivate())).toThrow('may sleep');
    cache.endUse();
    setLockObserver(undefined);
    world.finish(cache, other);
  });

  test('two refreshes of one cache take turns, and the second finds nothing to do', () => {
    const world = new World();
    const cache = world.active();
    drive(world.host.migrate(world.slotHva));
    const first = new Task(cache.refresh(4)).to('gpc.refresh: map');
    const second = new Task(cache.refresh(4));
    expect(second.blocks()).toBe(true);
    first.finish();
    expect(second.finish()).toEqual(first.result);
    expect(cache.statistics).toMatchObject({ maps: 2, unmaps: 1 });
    world.finish(cache);
  });
});
