import { drive, LockOrder, type Op, RwLock, setLockObserver, sleepPoint } from '@nvmx/sync';
import { afterEach, describe, expect, test } from 'vitest';
import type { RangeCache } from '../src/index.ts';
import { BASE_GPA, createWorld, gfn, pages, RecordingMmu, region, type World, writeByte } from './support/world.ts';

afterEach(() => setLockObserver(undefined));

/** A cache with a lock of its own, as a gfn_to_pfn_cache has. */
class LockedCache implements RangeCache {
  readonly #lock = new RwLock('cache lock');
  readonly #page: number;

  constructor(page: number) {
    this.#page = page;
  }

  hvaPage(): number {
    return this.#page;
  }

  *invalidateRange(): Op<void> {
    yield* this.#lock.write();
    this.#lock.endWrite();
  }
}

/** Everything that takes a lock, once. */
function everything(world: World): void {
  const { vm, host, hva } = world;
  const cache = new LockedCache(hva / 4096);
  vm.registerCache(cache);
  vm.addSecondaryMmu(new RecordingMmu());
  writeByte(world, hva, 1);
  drive(vm.writeGuest(BASE_GPA, Uint8Array.of(2)));
  drive(vm.pageFault(gfn(0), { write: true, install: () => {} }));
  drive(host.migrate(hva));
  drive(host.copyOnWrite(hva));
  drive(host.reap(pages(hva, 0)));
  drive(vm.setMemoryRegion(region(world, { logDirtyPages: true })));
  vm.harvestDirty(0);
  drive(vm.setMemoryRegion(region(world, { gpa: 0x100_0000, logDirtyPages: true })));
  drive(vm.setMemoryRegion(region(world, { bytes: 0 })));
  vm.unregisterCache(cache);
  drive(vm.destroy());
}

describe('locks', () => {
  test('are taken in the documented order, and none is held at the end', () => {
    const order = new LockOrder();
    setLockObserver(order);
    everything(createWorld());
    order.taskEnds();
    const learned = [...order.order()].map(([first, then]) => [first, [...then].sort()]);
    expect(Object.fromEntries(learned)).toEqual({
      slots_lock: ['mmu_lock', 'mmu_notifier_srcu', 'mn_invalidate_lock', 'slots_arch_lock', 'srcu'],
      slots_arch_lock: ['mn_invalidate_lock'],
      mmu_notifier_srcu: ['cache lock', 'gpc_lock', 'mmu_lock', 'mn_invalidate_lock'],
      gpc_lock: ['cache lock'],
      srcu: ['mmu_lock'],
    });
  });

  test('a cache that sleeps in its invalidation is found: it runs under the list lock (I9)', () => {
    const world = createWorld();
    const nap = sleepPoint('a nap');
    world.vm.registerCache({
      hvaPage: () => world.hva / 4096,
      *invalidateRange(): Op<void> {
        yield nap;
      },
    });
    setLockObserver(new LockOrder());
    expect(() => drive(world.host.discard(pages(world.hva, 0)))).toThrow('may sleep at "a nap" under gpc_lock');
  });

  test('a kick that sleeps in a non-blocking event is found, and in a blocking one it is allowed', () => {
    const world = createWorld();
    const wait = sleepPoint('until the vCPU is out');
    world.vm.registerCache(new LockedCache(world.hva / 4096));
    world.vm.addSecondaryMmu({
      zapGfnRange: () => {},
      *kick(): Op<void> {
        yield wait;
      },
    });
    setLockObserver(new LockOrder());
    drive(world.host.discard(pages(world.hva, 0)));
    expect(() => drive(world.host.reap(pages(world.hva, 0)))).toThrow('under reap');
  });

  test('an update from inside of a listener is found before it can deadlock', () => {
    const world = createWorld();
    world.vm.addSecondaryMmu({
      zapGfnRange: () => {},
      *kick(): Op<void> {
        yield* world.vm.setMemoryRegion(region(world, { logDirtyPages: true }));
      },
    });
    world.vm.registerCache(new LockedCache(world.hva / 4096));
    setLockObserver(new LockOrder());
    everything(createWorld());
    expect(() => drive(world.host.discard(pages(world.hva, 0)))).toThrow(
      'closes a lock-order cycle: mmu_notifier_srcu',
    );
  });
});
