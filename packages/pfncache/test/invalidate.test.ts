import { PAGE_SIZE } from '@nvmx/guest-memory';
import type { SecondaryMmu } from '@nvmx/mmu-events';
import { drive, LockOrder, setLockObserver } from '@nvmx/sync';
import { afterEach, describe, expect, test } from 'vitest';
import { pointsOf, Task } from './support/task.ts';
import { at, eventOf, hvaAt, nowhere, slotGpa, World } from './support/world.ts';

afterEach(() => setLockObserver(undefined));

describe('invalidateRange', () => {
  test('hits exactly the ranges that contain the page: every range of whole pages around it', () => {
    const world = new World();
    const cache = world.active(at(slotGpa, 3 * PAGE_SIZE + 0x7f8));
    for (let first = 0; first < 8; first++) {
      for (let pages = 1; first + pages <= 8; pages++) {
        drive(cache.refresh(4));
        drive(cache.invalidateRange(eventOf(world.range(first, pages))));
        expect(cache.valid, `${pages} pages from ${first}`).toBe(!(first <= 3 && 3 < first + pages));
      }
    }
    world.finish(cache);
  });

  test('looks under the read lock: a range that misses takes no write lock', () => {
    const world = new World();
    const cache = world.active();
    expect(pointsOf(cache.invalidateRange(eventOf(world.range(1))))).toEqual(['read gpc.lock']);
    expect(cache.beginUse()).toBe(true);
    expect(new Task(cache.invalidateRange(eventOf(world.range(1)))).blocks(), 'nor waits for readers').toBe(false);
    cache.endUse();
    expect(pointsOf(cache.invalidateRange(eventOf(world.range(0))))).toEqual(['read gpc.lock', 'write gpc.lock']);
    world.finish(cache);
  });

  test('looks again under the write lock: a cache that was moved in between stays valid', () => {
    const world = new World();
    const cache = world.active();
    const walk = new Task(cache.invalidateRange(eventOf(world.range(0)))).to('write gpc.lock');
    drive(cache.activate(at(slotGpa, PAGE_SIZE), 4));
    walk.finish();
    expect(cache.valid).toBe(true);
    expect(cache.statistics.invalidations).toBe(0);
    world.finish(cache);
  });

  test('counts only what it takes away, and steps the epoch once for it', () => {
    const world = new World();
    const cache = world.active();
    const { epoch } = cache;
    for (let i = 0; i < 3; i++) drive(cache.invalidateRange(eventOf(world.range(0))));
    expect(cache.statistics.invalidations).toBe(1);
    expect(cache.epoch).toBe(epoch + 1);
    world.finish(cache);
  });

  test('unmaps nothing: the mapping goes with the next refresh', () => {
    const world = new World();
    const cache = world.active();
    drive(world.host.munmap(world.range(0)));
    expect(world.memory.liveMappings).toBe(1);
    expect(drive(cache.refresh(4))).toMatchObject({ code: 'EFAULT' });
    expect(world.memory.liveMappings).toBe(0);
    world.finish(cache);
  });

  test('waits for the reader inside, who sees the old page to the end (I2)', () => {
    const world = new World();
    const cache = world.active();
    drive(world.vm.writeGuest(slotGpa, new Uint8Array([7])));
    expect(cache.beginUse()).toBe(true);
    const event = new Task(world.host.discard(world.range(0)));
    expect(event.blocks()).toBe(true);
    expect([cache.view.u8(0), world.pfnOf(slotGpa)]).toEqual([7, cache.pfn]);
    cache.endUse();
    event.finish();
    world.finish(cache);
  });

  test('the OOM reaper invalidates without sleeping', () => {
    setLockObserver(new LockOrder());
    const world = new World();
    const cache = world.active();
    drive(world.host.reap(world.range(0)));
    expect(cache.valid).toBe(false);
    world.finish(cache);
  });

  test('a cache without a page is passed over', () => {
    const world = new World();
    const cache = world.cache();
    drive(cache.activate(nowhere, 4));
    expect(cache.hvaPage()).toBe(-1);
    drive(cache.invalidateRange(eventOf(world.range(0, 8))));
    expect(cache.statistics.invalidations).toBe(0);
    world.finish(cache);
  });

  test('nothing in the range becomes valid between the start and the end of an invalidation (I3)', () => {
    const world = new World();
    const cache = world.active();
    const event = new Task(world.host.discard(world.range(0))).until(() => world.vm.notifier.inProgress === 1);
    const refresh = new Task(cache.refresh(4));
    while (!event.done) {
      while (refresh.ready) refresh.step();
      if (world.vm.notifier.activeCount > 0) expect(cache.valid).toBe(false);
      event.step();
    }
    expect(refresh.finish()).toMatchObject({ ok: true });
    world.finish(cache);
  });
});

describe('who is kicked', () => {
  function kicked(vcpu: number | 'none'): number[] {
    const world = new World();
    const kicks: number[] = [];
    const mmus = [0, 1].map(
      (id): SecondaryMmu => ({
        vcpu: id,
        zapGfnRange: () => {},
        *kick() {
          kicks.push(id);
        },
      }),
    );
    for (const mmu of mmus) world.vm.addSecondaryMmu(mmu);
    const cache = world.cache({ vcpu });
    drive(cache.activate(slotGpa, 4));
    drive(world.host.discard(world.range(0)));
    world.finish(cache);
    return kicks;
  }

  test('the vCPU whose hardware may use the frame, and no other', () => {
    expect(kicked(0)).toEqual([0]);
    expect(kicked(1)).toEqual([1]);
  });

  test('nobody for a page that L0 alone uses', () => {
    expect(kicked('none')).toEqual([]);
  });
});

describe('deactivate', () => {
  test('gives everything up, is idempotent, and the cache can be activated again', () => {
    const world = new World();
    const cache = world.active();
    const stamp = cache.stamp();
    for (let i = 0; i < 2; i++) {
      drive(cache.deactivate());
      expect(cache).toMatchObject({ active: false, valid: false, listed: false, pfn: undefined });
      expect(cache.isCurrent(stamp)).toBe(false);
      expect(world.memory.liveMappings).toBe(0);
    }
    drive(cache.activate(at(slotGpa, 4), 4));
    expect(cache).toMatchObject({ active: true, valid: true, listed: true });
    expect(cache.isCurrent(stamp)).toBe(false);
    world.finish(cache);
  });

  test('waits for the reader inside', () => {
    const world = new World();
    const cache = world.active();
    expect(cache.beginUse()).toBe(true);
    const deactivate = new Task(cache.deactivate());
    expect(deactivate.blocks()).toBe(true);
    expect(cache.active).toBe(true);
    cache.endUse();
    deactivate.finish();
    world.finish(cache);
  });

  test('is not usable before it leaves the list, and unmaps after the locks are dropped', () => {
    const world = new World();
    const cache = world.active();
    const deactivate = new Task(cache.deactivate()).to('gpc.deactivate: inactive');
    expect(cache).toMatchObject({ active: false, valid: false, listed: true });
    deactivate.to('gpc.unmap');
    expect(cache.listed).toBe(false);
    expect(cache.lock.tryWrite()).toBe(true);
    cache.lock.endWrite();
    deactivate.finish();
    world.finish(cache);
  });

  test('a cache of an hva is indexed anew when it is activated elsewhere', () => {
    const world = new World();
    const cache = world.cache();
    drive(cache.activateHva(world.plainHva, 4));
    drive(cache.deactivate());
    drive(cache.activateHva(hvaAt(world.plainHva, 2 * PAGE_SIZE), 4));
    drive(world.host.discard({ start: world.plainHva, end: hvaAt(world.plainHva, PAGE_SIZE) }));
    expect(cache.valid).toBe(true);
    drive(world.host.migrate(hvaAt(world.plainHva, 2 * PAGE_SIZE)));
    expect(cache.valid).toBe(false);
    world.finish(cache);
  });
});
