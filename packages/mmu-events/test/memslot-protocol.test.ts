import { type Gfn, OperatingError } from '@nvmx/guest-memory';
import { DeadlockError, drive, type Op } from '@nvmx/sync';
import { describe, expect, test } from 'vitest';
import { DirtyLog, type MemoryRegion, type Memslot, VmMemory } from '../src/index.ts';
import {
  at,
  BASE_GPA,
  createWorld,
  failure,
  gfn,
  pages,
  pointNames,
  RecordingMmu,
  region,
  runToPoint,
  runUntil,
  runUntilBlocked,
  type World,
} from './support/world.ts';

const MOVED = 0x100_0000;
const moved = (MOVED / 4096) as Gfn;

/** The tags that readers can see in the course of an update, each once. */
function tagsDuring(world: World, op: Op<void>): number[] {
  const tags = [world.vm.memslots.tag];
  const look = (): void => {
    if (tags.at(-1) !== world.vm.memslots.tag) tags.push(world.vm.memslots.tag);
  };
  for (let next = op.next(); next.done !== true; next = op.next()) look();
  look();
  return tags;
}

describe('what each change publishes', () => {
  test('create and flags-only: one step, in progress and then settled', () => {
    const world = createWorld();
    expect(world.vm.memslots.generation).toBe(1);
    expect(tagsDuring(world, world.vm.setMemoryRegion(region(world, { logDirtyPages: true })))).toEqual([2, 3, 4]);
    const create = region(world, { slot: 1, gpa: MOVED });
    expect(tagsDuring(world, world.vm.setMemoryRegion(create))).toEqual([4, 5, 6]);
  });

  test('delete and move: two steps, INVALID and then final', () => {
    const world = createWorld();
    expect(tagsDuring(world, world.vm.setMemoryRegion(region(world, { gpa: MOVED })))).toEqual([2, 3, 4, 5, 6]);
    expect(tagsDuring(world, world.vm.setMemoryRegion(region(world, { bytes: 0 })))).toEqual([6, 7, 8, 9, 10]);
  });

  test('nothing changed: no step, no lock but slots_lock, the same snapshot', () => {
    const world = createWorld();
    const before = world.vm.memslots;
    expect(pointNames(world.vm.setMemoryRegion(region(world)))).toEqual(['lock slots_lock']);
    expect(world.vm.memslots).toBe(before);
  });

  test('a refused update steps nothing and leaves its lock', () => {
    const world = createWorld();
    const before = world.vm.memslots;
    expect(failure(() => world.vm.setMemoryRegion(region(world, { bytes: 4096 })))).toBe('EINVAL');
    expect(failure(() => world.vm.setMemoryRegion(region(world, { slot: 3 })))).toBe('EEXIST');
    expect(world.vm.memslots).toBe(before);
    drive(world.vm.setMemoryRegion(region(world, { bytes: 0 })));
  });

  test('a snapshot that was taken stays as it was', () => {
    const world = createWorld();
    const before = world.vm.memslots;
    drive(world.vm.setMemoryRegion(region(world, { gpa: MOVED })));
    expect(before.find(gfn(0))?.id).toBe(0);
    expect(before.find(moved)).toBeUndefined();
    expect(world.vm.memslots.find(gfn(0))).toBeUndefined();
    expect(world.vm.memslots.find(moved)?.id).toBe(0);
  });

  test('the trace sink sees each update that changed something', () => {
    const events: unknown[] = [];
    const { host, hva } = createWorld();
    const vm = new VmMemory({ host, trace: (event) => events.push(event) });
    const one: MemoryRegion = { slot: 4, gpa: 0, bytes: 4096, hva };
    for (const change of [one, one, { ...one, bytes: 0 }]) drive(vm.setMemoryRegion(change));
    expect(events).toEqual([
      { name: 'kvm_set_user_memory_region', slot: 4, change: 'create', generation: 1 },
      { name: 'kvm_set_user_memory_region', slot: 4, change: 'delete', generation: 3 },
    ]);
  });
});

describe('the INVALID phase of a delete and of a move', () => {
  function invalidated(change: Partial<MemoryRegion>): { world: World; op: Op<void> } {
    const world = createWorld();
    drive(world.vm.writeGuest(BASE_GPA, Uint8Array.of(5)));
    const op = world.vm.setMemoryRegion(region(world, change));
    expect(runUntil(op, () => world.vm.memslots.find(gfn(0))?.invalid === true)).toBe(true);
    return { world, op };
  }

  test.each([
    ['delete', { bytes: 0 }],
    ['move', { gpa: MOVED }],
  ])('%s: the slot is there and translates nothing', (_kind, change) => {
    const { world, op } = invalidated(change);
    const { vm } = world;
    expect(vm.gfnToHva(gfn(0), { write: false })).toBeUndefined();
    expect(vm.currentPfn(gfn(0))).toBeUndefined();
    expect(drive(vm.faultIn(gfn(0), { write: false }))).toEqual({ error: 'EAGAIN' });
    expect(failure(() => vm.readGuest(BASE_GPA, new Uint8Array(1)))).toBe('EFAULT');
    expect(failure(() => vm.writeGuest(BASE_GPA, new Uint8Array(1)))).toBe('EFAULT');
    drive(op);
    expect(vm.memslots.find(gfn(0))).toBeUndefined();
  });

  test('a move always has a moment with no usable slot, at either place', () => {
    const { world, op } = invalidated({ gpa: MOVED });
    expect(world.vm.currentPfn(gfn(0))).toBeUndefined();
    expect(world.vm.currentPfn(moved)).toBeUndefined();
    drive(op);
    expect(world.vm.currentPfn(moved)).toBe(world.host.translate(world.hva));
  });

  test('a create and a change of flags have none', () => {
    const world = createWorld();
    const op = world.vm.setMemoryRegion(region(world, { logDirtyPages: true }));
    expect(runUntil(op, () => world.vm.memslots.find(gfn(0))?.invalid === true)).toBe(false);
  });

  test('translations are zapped after the readers are gone and before the final state, and the vCPUs kicked', () => {
    const world = createWorld();
    const mmu = new RecordingMmu();
    world.vm.addSecondaryMmu(mmu);
    drive(world.vm.setMemoryRegion(region(world, { gpa: MOVED })));
    expect(mmu.calls).toEqual(['generation 2', `zap ${0x10}..${0x18}`, 'kick', 'generation 3']);
  });
});

describe('M3: an update waits for invalidations', () => {
  test.each<[string, Partial<MemoryRegion>]>([
    ['a create', { slot: 1, gpa: MOVED }],
    ['a delete', { bytes: 0 }],
    ['a move', { gpa: MOVED }],
    ['a change of flags', { logDirtyPages: true }],
  ])('%s, and publishes nothing before their end', (_kind, change) => {
    const world = createWorld();
    const before = world.vm.memslots;
    const event = world.host.discard(pages(world.hva, 0));
    runToPoint(event, 'host mm: before the pte change');
    const update = world.vm.setMemoryRegion(region(world, change));
    expect(runUntilBlocked(update)).toBe('wait mn_memslots_update_rcuwait');
    expect(world.vm.memslots).toBe(before);
    drive(event);
    drive(update);
    expect(world.vm.memslots).not.toBe(before);
    const { activeCount, inProgress } = world.vm.notifier;
    expect([activeCount, inProgress]).toEqual([0, 0]);
  });

  test('for any address: an event far from every slot, too', () => {
    const world = createWorld();
    const event = world.host.discard(pages(world.host.mmap({ pages: 1 }), 0));
    runToPoint(event, 'host mm: before the pte change');
    expect(runUntilBlocked(world.vm.setMemoryRegion(region(world, { bytes: 0 })))).toBe(
      'wait mn_memslots_update_rcuwait',
    );
  });

  test('a waiting update does not hold up new invalidations', () => {
    const world = createWorld();
    const event = world.host.discard(pages(world.hva, 0));
    runToPoint(event, 'host mm: before the pte change');
    const update = world.vm.setMemoryRegion(region(world, { bytes: 0 }));
    runUntilBlocked(update);
    drive(world.host.discard(pages(world.hva, 1)));
    expect(runUntilBlocked(update)).toBe('wait mn_memslots_update_rcuwait');
    drive(event);
    drive(update);
  });

  test('alone on its thread, an update inside of an invalidation is a deadlock', () => {
    const world = createWorld();
    runToPoint(world.host.discard(pages(world.hva, 0)), 'host mm: before the pte change');
    expect(() => drive(world.vm.setMemoryRegion(region(world, { bytes: 0 })))).toThrow(DeadlockError);
  });
});

describe('M4: an update waits for readers', () => {
  test('of the old snapshot, and not of the new one; the old slot is freed after them', () => {
    const world = createWorld();
    const slot = world.vm.memslots.get(0)!;
    const reader = world.vm.srcu.enter();
    const update = world.vm.setMemoryRegion(region(world, { logDirtyPages: true }));
    expect(runUntilBlocked(update)).toBe('synchronize srcu');
    expect(slot.freed).toBe(false);
    const late = world.vm.srcu.enter();
    world.vm.srcu.exit(reader);
    drive(update);
    expect(slot.freed).toBe(true);
    world.vm.srcu.exit(late);
  });

  test('slots_arch_lock is free while it waits, slots_lock is not', () => {
    const world = createWorld();
    const reader = world.vm.srcu.enter();
    const update = world.vm.setMemoryRegion(region(world, { bytes: 0 }));
    runUntilBlocked(update);
    expect(runUntilBlocked(world.vm.setMemoryRegion(region(world)))).toBe('lock slots_lock');
    world.vm.srcu.exit(reader);
    drive(update);
  });
});

describe('M7: a failure to prepare', () => {
  class NoMemory extends VmMemory {
    failing = true;

    protected override createDirtyLog(pageCount: number): DirtyLog {
      if (this.failing) throw new OperatingError('ENOMEM', 'no memory for the bitmap');
      return new DirtyLog(pageCount);
    }
  }

  test.each<[string, Partial<MemoryRegion>, number[]]>([
    ['a create', { slot: 1, gpa: MOVED, logDirtyPages: true }, [2]],
    ['a change of flags', { logDirtyPages: true }, [2]],
    ['a move with flags', { gpa: MOVED, logDirtyPages: true }, [2, 3, 4, 5, 6]],
  ])('%s: ENOMEM, and the slots are as they were', (_kind, change, tags) => {
    const world = createWorld({ Vm: NoMemory });
    const slot = world.vm.memslots.get(0);
    const seen: number[] = [];
    const versions = new Set<Memslot>();
    expect(
      failure(function* () {
        const op = world.vm.setMemoryRegion(region(world, change));
        for (let next = op.next(); next.done !== true; next = op.next()) {
          seen.push(world.vm.memslots.tag);
          for (const one of world.vm.memslots) versions.add(one);
          yield next.value;
        }
      }),
    ).toBe('ENOMEM');
    expect([...new Set([...seen, world.vm.memslots.tag])]).toEqual(tags);
    expect([...world.vm.memslots]).toEqual([slot]);
    expect(slot?.freed).toBe(false);
    for (const one of versions) expect(one.freed).toBe(one !== slot);
    (world.vm as NoMemory).failing = false;
    drive(world.vm.setMemoryRegion(region(world, change)));
  });
});

describe('freed slots (I6)', () => {
  test('the versions that an update replaced are freed, the one that stays is not', () => {
    const world = createWorld();
    const first = world.vm.memslots.get(0)!;
    drive(world.vm.setMemoryRegion(region(world, { gpa: MOVED })));
    const second = world.vm.memslots.get(0)!;
    expect([first.freed, second.freed]).toEqual([true, false]);
    expect(() => world.vm.markDirtyInSlot(first, gfn(0))).toThrow('used after it was freed');
    world.vm.markDirtyInSlot(second, moved);
  });

  test('the INVALID version is freed as well', () => {
    const world = createWorld();
    const op = world.vm.setMemoryRegion(region(world, { bytes: 0 }));
    runUntil(op, () => world.vm.memslots.find(gfn(0))?.invalid === true);
    const invalid = world.vm.memslots.find(gfn(0))!;
    drive(op);
    expect(invalid.freed).toBe(true);
  });
});

describe('all slots', () => {
  test('32764 user slots can be created, one host page behind all of them, and found', () => {
    const world = createWorld();
    drive(world.vm.setMemoryRegion(region(world, { bytes: 0 })));
    for (let slot = 0; slot < 32_764; slot++) {
      drive(world.vm.setMemoryRegion({ slot, gpa: slot * 8192, bytes: 4096, hva: world.hva }));
    }
    const { memslots } = world.vm;
    expect(memslots.count).toBe(32_764);
    for (const slot of [0, 1, 127, 128, 32_763]) expect(memslots.find((slot * 2) as Gfn)?.id).toBe(slot);
    expect(failure(() => world.vm.setMemoryRegion({ slot: 32_764, gpa: 2 ** 40, bytes: 4096, hva: world.hva }))).toBe(
      'EINVAL',
    );
    drive(world.host.discard(pages(world.hva, 0)));
    expect(world.vm.notifier.sequence).toBe(1);
    expect(at(world.hva, 0)).toBe(world.hva);
  });
});
