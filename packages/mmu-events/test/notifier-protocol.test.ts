import type { Gfn, Hva } from '@nvmx/guest-memory';
import { drive, type Op, point } from '@nvmx/sync';
import { describe, expect, test } from 'vitest';
import type { RangeCache, RangeEvent, VmMemory } from '../src/index.ts';
import {
  at,
  BASE_GPA,
  createWorld,
  endWorld,
  pages,
  RecordingMmu,
  region,
  runToPoint,
  type World,
} from './support/world.ts';

const CHANGE = 'host mm: before the pte change';
const inside = point('inside a cache');

/** Remembers the counters at the time of its invalidation. */
class Cache implements RangeCache {
  page: number;
  valid = true;
  readonly vcpu: number | 'none' | undefined;
  readonly seen: { activeCount: number; inProgress: number; sequence: number }[] = [];
  readonly #vm: VmMemory;

  constructor(vm: VmMemory, hva: Hva, o: { vcpu?: number | 'none' } = {}) {
    this.#vm = vm;
    this.page = hva / 4096;
    this.vcpu = o.vcpu;
  }

  hvaPage(): number {
    return this.valid ? this.page : -1;
  }

  *invalidateRange(): Op<void> {
    yield inside;
    this.valid = false;
    const { activeCount, inProgress, sequence } = this.#vm.notifier;
    this.seen.push({ activeCount, inProgress, sequence });
  }
}

function counters(world: World): number[] {
  const { activeCount, inProgress, sequence } = world.vm.notifier;
  return [activeCount, inProgress, sequence];
}

describe('the steps of one invalidation', () => {
  test('N1 before N2 before N4: the count is up when a cache is looked at, in_progress is not', () => {
    const world = createWorld();
    const cache = new Cache(world.vm, world.hva);
    world.vm.registerCache(cache);
    drive(world.host.discard(pages(world.hva, 0)));
    expect(cache.seen).toEqual([{ activeCount: 1, inProgress: 0, sequence: 0 }]);
  });

  test('between start and end both counters are up, and the range names the guest frames; after it the sequence stepped', () => {
    const world = createWorld();
    const op = world.host.discard(pages(world.hva, 2, 3));
    expect(runToPoint(op, CHANGE)).toBe(true);
    expect(counters(world)).toEqual([1, 1, 0]);
    expect(world.vm.notifier.range).toEqual({ start: 0x12, end: 0x15 });
    drive(op);
    expect(counters(world)).toEqual([0, 0, 1]);
  });

  test('N6 before N7: whoever sees the count at 0 sees the new sequence', () => {
    const world = createWorld();
    const op = world.host.discard(pages(world.hva, 0));
    const seen = new Set<string>();
    for (let next = op.next(); next.done !== true; next = op.next()) seen.add(counters(world).join());
    seen.add(counters(world).join());
    expect([...seen]).toEqual(['0,0,0', '1,0,0', '1,1,0', '1,0,1', '0,0,1']);
  });

  test('an event that overlaps no memslot raises the count alone, and steps no sequence', () => {
    const world = createWorld();
    const elsewhere = world.host.mmap({ pages: 1 });
    const mmu = new RecordingMmu();
    world.vm.addSecondaryMmu(mmu);
    const op = world.host.discard(pages(elsewhere, 0));
    runToPoint(op, CHANGE);
    expect(counters(world)).toEqual([1, 0, 0]);
    drive(op);
    expect(counters(world)).toEqual([0, 0, 0]);
    expect(mmu.calls).toEqual([]);
  });

  test('an event that only touches a memslot does not overlap it', () => {
    const world = createWorld();
    world.host.mmap({ pages: 1, at: at(world.hva, -1) });
    world.host.mmap({ pages: 1, at: at(world.hva, 8) });
    for (const page of [-1, 8]) drive(world.host.discard(pages(world.hva, page)));
    expect(counters(world)).toEqual([0, 0, 0]);
    for (const page of [0, 7]) drive(world.host.discard(pages(world.hva, page)));
    expect(counters(world)).toEqual([0, 0, 2]);
  });

  test('an event over two slots counts once, zaps each, and unites their frames', () => {
    const world = createWorld();
    drive(world.vm.setMemoryRegion({ slot: 5, gpa: 0x100_0000, bytes: 2 * 4096, hva: at(world.hva, 1) }));
    const mmu = new RecordingMmu();
    world.vm.addSecondaryMmu(mmu);
    const op = world.host.discard(pages(world.hva, 2));
    runToPoint(op, CHANGE);
    expect(mmu.calls).toEqual([`zap ${0x12}..${0x13}`, `zap ${0x1001}..${0x1002}`]);
    expect(world.vm.notifier.range).toEqual({ start: 0x12, end: 0x1002 });
    expect(counters(world)).toEqual([1, 1, 0]);
    drive(op);
    expect(counters(world)).toEqual([0, 0, 1]);
  });

  test('two events that overlap in time: the union stays until both are over', () => {
    const world = createWorld();
    const [first, second] = [world.host.discard(pages(world.hva, 0)), world.host.discard(pages(world.hva, 5))];
    runToPoint(first, CHANGE);
    runToPoint(second, CHANGE);
    expect(counters(world)).toEqual([2, 2, 0]);
    expect(world.vm.notifier.range).toEqual({ start: 0x10, end: 0x16 });
    drive(first);
    expect(counters(world)).toEqual([1, 1, 1]);
    expect(world.vm.notifier.retry({ sequence: 1, gfn: 0x12 as Gfn })).toBe(true);
    drive(second);
    expect(counters(world)).toEqual([0, 0, 2]);
    expect(world.vm.notifier.retry({ sequence: 2, gfn: 0x12 as Gfn })).toBe(false);
  });

  test('the trace sink sees kvm_unmap_hva_range with the range of each event', () => {
    const events: unknown[] = [];
    const { host, hva } = createWorld();
    const VmClass = createWorld().vm.constructor as typeof VmMemory;
    const vm = new VmClass({ host, trace: (event) => events.push(event) });
    drive(host.discard(pages(hva, 1, 2)));
    expect(events).toEqual([{ name: 'kvm_unmap_hva_range', start: at(hva, 1), end: at(hva, 3) }]);
    drive(vm.destroy());
  });
});

describe('caches', () => {
  test('an event reaches the caches of its pages, and no other', () => {
    const world = createWorld();
    const caches = [0, 1, 2, 3].map((i) => new Cache(world.vm, at(world.hva, i)));
    for (const cache of caches) world.vm.registerCache(cache);
    drive(world.host.discard(pages(world.hva, 1, 2)));
    expect(caches.map((cache) => cache.valid)).toEqual([true, false, false, true]);
  });

  test('a cache outside of every memslot is reached as well', () => {
    const world = createWorld();
    const hva = world.host.mmap({ pages: 1 });
    const cache = new Cache(world.vm, hva);
    world.vm.registerCache(cache);
    drive(world.host.discard(pages(hva, 0)));
    expect(cache.valid).toBe(false);
  });

  test('a cache that moved is found where it is, once it said so', () => {
    const world = createWorld();
    const cache = new Cache(world.vm, at(world.hva, 0));
    world.vm.registerCache(cache);
    cache.page = at(world.hva, 4) / 4096;
    world.vm.cacheMoved(cache);
    drive(world.host.discard(pages(world.hva, 0)));
    expect(cache.valid).toBe(true);
    drive(world.host.discard(pages(world.hva, 4)));
    expect(cache.valid).toBe(false);
  });

  test('a cache that stands for nothing is passed over, and so is one that was unregistered', () => {
    const world = createWorld();
    const [gone, invalid] = [new Cache(world.vm, world.hva), new Cache(world.vm, world.hva)];
    world.vm.registerCache(gone);
    world.vm.registerCache(invalid);
    world.vm.unregisterCache(gone);
    invalid.valid = false;
    drive(world.host.discard(pages(world.hva, 0)));
    expect([gone.seen, invalid.seen]).toEqual([[], []]);
    expect(() => world.vm.unregisterCache(gone)).toThrow('not registered');
  });
});

describe('kicks (N3)', () => {
  function kicked(o: {
    caches: (number | 'none' | undefined)[];
    mmus: (number | undefined)[];
    reap?: boolean;
  }): string[][] {
    const world = createWorld();
    const mmus = o.mmus.map((vcpu) => new RecordingMmu(vcpu === undefined ? {} : { vcpu }));
    for (const mmu of mmus) world.vm.addSecondaryMmu(mmu);
    for (const vcpu of o.caches)
      world.vm.registerCache(new Cache(world.vm, world.hva, vcpu === undefined ? {} : { vcpu }));
    drive(o.reap === true ? world.host.reap(pages(world.hva, 0)) : world.host.discard(pages(world.hva, 0)));
    return mmus.map((mmu) => mmu.calls.filter((call) => call.startsWith('kick')));
  }

  test('no cache hit: nobody is kicked', () => {
    expect(kicked({ caches: [], mmus: [0, undefined] })).toEqual([[], []]);
  });

  test('a hit kicks the vCPU of the cache once, whatever the number of its caches', () => {
    expect(kicked({ caches: [1, 1], mmus: [0, 1] })).toEqual([[], ['kick']]);
  });

  test('a cache of L0 alone kicks nobody; one that does not say kicks everybody', () => {
    expect(kicked({ caches: ['none'], mmus: [0, undefined] })).toEqual([[], []]);
    expect(kicked({ caches: [undefined], mmus: [0, 1, undefined] })).toEqual([['kick'], ['kick'], ['kick']]);
  });

  test('a secondary MMU of no particular vCPU is kicked for every vCPU', () => {
    expect(kicked({ caches: [7], mmus: [undefined, 0] })).toEqual([['kick'], []]);
  });

  test('the OOM reaper kicks without waiting', () => {
    expect(kicked({ caches: [0], mmus: [0], reap: true })).toEqual([['kick without waiting']]);
  });

  test('the kick comes after the caches are invalid and before the zap', () => {
    const world = createWorld();
    const cache = new Cache(world.vm, world.hva, { vcpu: 0 });
    world.vm.registerCache(cache);
    const mmu = new RecordingMmu({ vcpu: 0 });
    world.vm.addSecondaryMmu(mmu);
    drive(world.host.discard(pages(world.hva, 0)));
    expect(mmu.calls).toEqual(['kick', `zap ${0x10}..${0x11}`]);
  });

  test('a secondary MMU is added once', () => {
    const { vm } = createWorld();
    const mmu = new RecordingMmu();
    vm.addSecondaryMmu(mmu);
    expect(() => vm.addSecondaryMmu(mmu)).toThrow('added already');
  });
});

describe('teardown', () => {
  test('all translations are dropped, the listener is gone, the slots are freed, a second destroy() does nothing', () => {
    const world = createWorld();
    const mmu = new RecordingMmu();
    world.vm.addSecondaryMmu(mmu);
    const slot = world.vm.memslots.get(0)!;
    drive(world.vm.destroy());
    drive(world.vm.destroy());
    expect(mmu.calls).toEqual([`zap 0..${2 ** 40}`]);
    expect(slot.freed).toBe(true);
    expect(world.vm.memslots.count).toBe(0);
    drive(world.host.discard(pages(world.hva, 0)));
    expect(counters(world)).toEqual([0, 0, 0]);
    expect(endWorld(world)).toBe(0);
  });

  test('an event that is cut between start and end is forgotten', () => {
    const world = createWorld();
    const op = world.host.discard(pages(world.hva, 0));
    runToPoint(op, CHANGE);
    drive(world.vm.destroy());
    expect(world.vm.notifier.activeCount).toBe(0);
    drive(op);
    expect(world.vm.notifier.activeCount).toBe(0);
  });

  test('destroy() waits for a call of the notifier that is under way', () => {
    const world = createWorld();
    const event = world.host.discard(pages(world.hva, 0));
    event.next();
    const destroy = world.vm.destroy();
    expect(runToPoint(destroy, 'synchronize mmu_notifier_srcu')).toBe(true);
    expect((destroy.next().value as { ready(): boolean }).ready()).toBe(false);
    drive(event);
    drive(destroy);
  });

  test('a VM with registered caches is not destroyed', () => {
    const world = createWorld();
    world.vm.registerCache(new Cache(world.vm, world.hva));
    expect(() => drive(world.vm.destroy())).toThrow('1 registered caches');
  });

  test('the address space can go first: it releases the VM', () => {
    const world = createWorld();
    const mmu = new RecordingMmu();
    world.vm.addSecondaryMmu(mmu);
    drive(world.host.destroy());
    expect(mmu.calls).toEqual([`zap 0..${2 ** 40}`]);
    expect(world.vm.currentPfn((BASE_GPA / 4096) as Gfn)).toBeUndefined();
    drive(world.vm.destroy());
  });

  test('a destroyed VM takes no slot: EIO', () => {
    const world = createWorld();
    drive(world.vm.destroy());
    expect(() => drive(world.vm.setMemoryRegion(region(world)))).toThrow(expect.objectContaining({ code: 'EIO' }));
  });
});

test('RangeEvent carries what the listener needs: range, mayBlock, reason', () => {
  const world = createWorld();
  const events: RangeEvent[] = [];
  world.host.subscribe({
    *invalidateRangeStart(event): Op<void> {
      events.push(event);
    },
    *invalidateRangeEnd(event): Op<void> {
      events.push(event);
    },
  });
  drive(world.host.reap(pages(world.hva, 0)));
  const expected = { start: world.hva, end: at(world.hva, 1), mayBlock: false, reason: 'reap' };
  expect(events).toEqual([expected, expected]);
});
