import { createManagedMemory, type Gfn, type Gpa, OperatingError } from '@nvmx/guest-memory';
import { drive } from '@nvmx/sync';
import { describe, expect, test } from 'vitest';
import { HostAddressSpace, VmMemory } from '../src/index.ts';
import {
  at,
  BASE_GPA,
  createWorld,
  endWorld,
  errorCode,
  exhaust,
  failure,
  gfn,
  pages,
  RecordingMmu,
  region,
  runToPoint,
  runUntil,
  type World,
  writeByte,
} from './support/world.ts';

const LAST = (BASE_GPA + 8 * 4096 - 1) as Gpa;
const write = { write: true };
const read = { write: false };

function guestBytes(world: World, gpa: Gpa, count: number): number[] {
  const target = new Uint8Array(count);
  drive(world.vm.readGuest(gpa, target));
  return [...target];
}

describe('a guest page follows its host page', () => {
  test('through discard and migrate', () => {
    const world = createWorld();
    drive(world.vm.writeGuest((BASE_GPA + 0xffe) as Gpa, Uint8Array.of(1, 2, 3, 4)));
    const after = drive(world.host.migrate(world.hva));
    expect(world.vm.currentPfn(gfn(0))).toBe(after);
    expect(guestBytes(world, (BASE_GPA + 0xffe) as Gpa, 4)).toEqual([1, 2, 3, 4]);
    drive(world.host.discard(pages(world.hva, 0)));
    expect(world.vm.currentPfn(gfn(0))).toBeUndefined();
    expect(guestBytes(world, (BASE_GPA + 0xffe) as Gpa, 4)).toEqual([0, 0, 3, 4]);
    expect(endWorld(world)).toBe(0);
  });
});

describe('gfnToHva() and currentPfn()', () => {
  test('translate the first and the last frame of a slot, and nothing beside', () => {
    const { vm, hva } = createWorld();
    expect([-1, 0, 7, 8].map((i) => vm.gfnToHva(gfn(i), write))).toEqual([undefined, hva, at(hva, 7), undefined]);
    expect(vm.gfnToHva((2 ** 40) as Gfn, read)).toBeUndefined();
  });

  test('a read-only slot translates for a read alone', () => {
    const { vm, hva } = createWorld({ region: { readOnly: true } });
    expect([vm.gfnToHva(gfn(0), read), vm.gfnToHva(gfn(0), write)]).toEqual([hva, undefined]);
  });

  test('currentPfn() never populates', () => {
    const world = createWorld();
    expect(world.vm.currentPfn(gfn(0))).toBeUndefined();
    expect(world.host.residentPages).toBe(0);
  });
});

describe('readGuest() and writeGuest()', () => {
  test('cross pages and slots', () => {
    const world = createWorld();
    drive(world.vm.setMemoryRegion({ slot: 1, gpa: LAST + 1, bytes: 4096, hva: world.host.mmap({ pages: 1 }) }));
    const bytes = Array.from({ length: 3 * 4096 }, (_, i) => i % 253);
    const gpa = (LAST - 2 * 4096 - 5) as Gpa;
    drive(world.vm.writeGuest(gpa, Uint8Array.from(bytes)));
    expect(guestBytes(world, gpa, bytes.length)).toEqual(bytes);
  });

  test('EFAULT with the failing address beyond the slot; what came before is copied', () => {
    const world = createWorld();
    drive(world.vm.writeGuest(LAST, Uint8Array.of(9)));
    const target = new Uint8Array(2);
    expect(() => drive(world.vm.readGuest(LAST, target))).toThrow(
      expect.objectContaining({ code: 'EFAULT', details: { gpa: LAST + 1 } }),
    );
    expect(target[0]).toBe(9);
    expect(failure(() => world.vm.writeGuest(LAST, Uint8Array.of(8, 8)))).toBe('EFAULT');
    expect(guestBytes(world, LAST, 1)).toEqual([8]);
  });

  test('EFAULT where the host has nothing, and for a write to a read-only slot', () => {
    const world = createWorld({ region: { readOnly: true } });
    expect(failure(() => world.vm.writeGuest(BASE_GPA, Uint8Array.of(1)))).toBe('EFAULT');
    writeByte(world, world.hva, 3);
    expect(guestBytes(world, BASE_GPA, 1)).toEqual([3]);
    drive(world.host.munmap(pages(world.hva, 0)));
    expect(failure(() => world.vm.readGuest(BASE_GPA, new Uint8Array(1)))).toBe('EFAULT');
  });

  test('ENOMEM when the page cannot be populated', () => {
    const world = createWorld();
    exhaust(world.memory);
    expect(failure(() => world.vm.readGuest(BASE_GPA, new Uint8Array(1)))).toBe('ENOMEM');
    expect(world.vm.srcu.readers).toBe(0);
  });

  test('a write to a shared page leaves the other sharers alone', () => {
    const world = createWorld();
    for (const i of [0, 1]) writeByte(world, at(world.hva, i), 4);
    drive(world.host.merge({ keep: world.hva, drop: at(world.hva, 1) }));
    drive(world.vm.writeGuest(BASE_GPA, Uint8Array.of(5)));
    expect([0, 1].map((i) => guestBytes(world, (BASE_GPA + i * 4096) as Gpa, 1)[0])).toEqual([5, 4]);
  });

  test('nothing to copy is no error, wherever it is', () => {
    const { vm } = createWorld();
    expect(failure(() => vm.readGuest(0 as Gpa, new Uint8Array(0)))).toBe('none');
  });
});

describe('tryReadGuest() and tryWriteGuest()', () => {
  test('copy what is present in one step, over pages and slots, and mark what they write', () => {
    const world = createWorld({ region: { logDirtyPages: true } });
    const gpa = (BASE_GPA + 4094) as Gpa;
    const [bytes, back] = [Uint8Array.of(1, 2, 3, 4), new Uint8Array(4)];
    drive(world.vm.writeGuest(gpa, new Uint8Array(4)));
    world.vm.harvestDirty(0);
    expect(world.vm.tryWriteGuest(gpa, bytes)).toBe(true);
    expect(world.vm.tryReadGuest(gpa, back)).toBe(true);
    expect(back).toEqual(bytes);
    expect(world.vm.harvestDirty(0)[0]).toBe(0b11);
  });

  test('false, and no page faulted in, where a page is absent, the second one too', () => {
    const world = createWorld();
    expect(world.vm.tryReadGuest(BASE_GPA, new Uint8Array(1))).toBe(false);
    writeByte(world, world.hva, 1);
    expect(world.vm.tryReadGuest((BASE_GPA + 4095) as Gpa, new Uint8Array(2))).toBe(false);
    expect(world.vm.tryWriteGuest((BASE_GPA + 4095) as Gpa, new Uint8Array(2))).toBe(false);
    expect(world.host.residentPages).toBe(1);
  });

  test('false outside of every slot, and in a slot that is being deleted', () => {
    const world = createWorld();
    writeByte(world, world.hva, 1);
    expect(world.vm.tryReadGuest(0 as Gpa, new Uint8Array(1))).toBe(false);
    expect(world.vm.tryWriteGuest((LAST + 1) as Gpa, new Uint8Array(1))).toBe(false);
    const update = world.vm.setMemoryRegion(region(world, { bytes: 0 }));
    runUntil(update, () => world.vm.memslots.find(gfn(0))?.invalid === true);
    expect(world.vm.tryReadGuest(BASE_GPA, new Uint8Array(1))).toBe(false);
    drive(update);
  });

  test('a write is false for a read-only slot and for a page that must be copied first; a read is true', () => {
    const readOnly = createWorld({ region: { readOnly: true } });
    writeByte(readOnly, readOnly.hva, 1);
    expect(readOnly.vm.tryWriteGuest(BASE_GPA, new Uint8Array(1))).toBe(false);
    expect(readOnly.vm.tryReadGuest(BASE_GPA, new Uint8Array(1))).toBe(true);
    const world = createWorld();
    for (const i of [0, 1]) writeByte(world, at(world.hva, i), 4);
    drive(world.host.merge({ keep: world.hva, drop: at(world.hva, 1) }));
    expect(world.vm.tryWriteGuest(BASE_GPA, Uint8Array.of(9))).toBe(false);
    expect(guestBytes(world, (BASE_GPA + 4096) as Gpa, 1)).toEqual([4]);
  });

  test('nothing to copy is true, wherever it is', () => {
    const { vm } = createWorld();
    expect(vm.tryReadGuest(0 as Gpa, new Uint8Array(0))).toBe(true);
    expect(vm.tryWriteGuest(0 as Gpa, new Uint8Array(0))).toBe(true);
  });
});

describe('faultIn()', () => {
  test('gives the frame, and whether it may be mapped writable', () => {
    const world = createWorld();
    const page = drive(world.vm.faultIn(gfn(1), read));
    expect(page).toEqual({ pfn: world.host.translate(at(world.hva, 1)), writable: true });
    expect(drive(world.vm.faultIn(gfn(1), write))).toEqual(page);
  });

  test('no memslot, and a write to a read-only one: ENOENT, emulate as MMIO', () => {
    const { vm } = createWorld({ region: { readOnly: true } });
    expect(drive(vm.faultIn(gfn(8), read))).toEqual({ error: 'ENOENT' });
    expect(drive(vm.faultIn(gfn(0), write))).toEqual({ error: 'ENOENT' });
    expect(drive(vm.faultIn(gfn(0), read))).toMatchObject({ writable: false });
  });

  test('nothing mapped behind the slot, or read-only there: EFAULT', () => {
    const world = createWorld();
    drive(world.host.protect(pages(world.hva, 0), { writable: false }));
    expect(drive(world.vm.faultIn(gfn(0), write))).toEqual({ error: 'EFAULT' });
    expect(drive(world.vm.faultIn(gfn(0), read))).toMatchObject({ writable: false });
    drive(world.host.munmap(pages(world.hva, 0)));
    expect(drive(world.vm.faultIn(gfn(0), read))).toEqual({ error: 'EFAULT' });
  });

  test('a shared page: a read may not map it writable, a write gets a frame of its own', () => {
    const world = createWorld();
    for (const i of [0, 1]) writeByte(world, at(world.hva, i), 4);
    drive(world.host.merge({ keep: world.hva, drop: at(world.hva, 1) }));
    expect(drive(world.vm.faultIn(gfn(0), read))).toMatchObject({ writable: false });
    expect(drive(world.vm.faultIn(gfn(0), write))).toMatchObject({ writable: true });
    expect(world.vm.currentPfn(gfn(0))).not.toBe(world.vm.currentPfn(gfn(1)));
  });

  test('no frame left: ENOMEM is thrown, and the SRCU section is over', () => {
    const world = createWorld();
    exhaust(world.memory);
    expect(failure(() => world.vm.faultIn(gfn(0), read))).toBe('ENOMEM');
    expect(world.vm.srcu.readers).toBe(0);
  });

  test('a slot that logs: a write is in the log, a read may not map writable', () => {
    const { vm } = createWorld({ region: { logDirtyPages: true } });
    expect(drive(vm.faultIn(gfn(2), read))).toMatchObject({ writable: false });
    expect(vm.harvestDirty(0)[0]).toBe(0);
    expect(drive(vm.faultIn(gfn(2), write))).toMatchObject({ writable: true });
    expect(vm.harvestDirty(0)[0]).toBe(1 << 2);
  });
});

describe('pageFault()', () => {
  test('installs the current frame under the mmu_lock, once', () => {
    const world = createWorld();
    const installed: unknown[] = [];
    const install = (page: unknown): void => {
      installed.push([page, world.vm.mmuLock.writing]);
    };
    const page = drive(world.vm.pageFault(gfn(3), { ...write, install }));
    expect(page).toEqual({ pfn: world.vm.currentPfn(gfn(3)), writable: true });
    expect(installed).toEqual([[page, true]]);
    expect(world.vm.mmuLock.writing).toBe(false);
  });

  test('an error of faultIn() is passed on, and nothing is installed', () => {
    const { vm } = createWorld();
    const install = (): void => expect.fail('nothing to install');
    expect(drive(vm.pageFault(gfn(9), { ...read, install }))).toEqual({ error: 'ENOENT' });
  });

  test('an invalidation between resolving and installing: EAGAIN, whether it is under way or over (NV-19)', () => {
    for (const over of [true, false]) {
      const world = createWorld();
      writeByte(world, world.hva, 1);
      const fault = world.vm.pageFault(gfn(0), { ...write, install: () => expect.fail('stale') });
      expect(runToPoint(fault, 'write mmu_lock')).toBe(true);
      const event = world.host.discard(pages(world.hva, 0));
      if (over) drive(event);
      else runToPoint(event, 'host mm: before the pte change');
      expect(drive(fault)).toEqual({ error: 'EAGAIN' });
      drive(event);
    }
  });

  test('an invalidation of another frame under way does not hold it up', () => {
    const world = createWorld();
    const event = world.host.discard(pages(world.hva, 5));
    runToPoint(event, 'host mm: before the pte change');
    let installs = 0;
    expect(drive(world.vm.pageFault(gfn(0), { ...write, install: () => installs++ }))).toMatchObject({
      writable: true,
    });
    expect(installs).toBe(1);
    drive(event);
  });
});

describe('the dirty log', () => {
  const logged = { region: { logDirtyPages: true } };

  test('writes of L0 are in it, page by page, and a harvest clears it', () => {
    const world = createWorld(logged);
    drive(world.vm.writeGuest((BASE_GPA + 4095) as Gpa, Uint8Array.of(1, 2)));
    world.vm.markDirty(gfn(7));
    expect([...world.vm.harvestDirty(0)]).toEqual([0b1000_0011, 0, 0, 0, 0, 0, 0, 0]);
    expect(world.vm.harvestDirty(0)[0]).toBe(0);
  });

  test('reads are not in it, nor is what was written where nothing logs', () => {
    const world = createWorld(logged);
    guestBytes(world, BASE_GPA, 4096);
    world.vm.markDirty(gfn(8));
    world.vm.markDirty(gfn(-1));
    expect(world.vm.harvestDirty(0)[0]).toBe(0);
  });

  test('a slot that does not exist, or does not log: ENOENT; an id that no slot can have: EINVAL', () => {
    const { vm } = createWorld();
    expect(errorCode(() => vm.harvestDirty(1))).toBe('ENOENT');
    expect(errorCode(() => vm.harvestDirty(0))).toBe('ENOENT');
    expect(errorCode(() => vm.harvestDirty(32_763))).toBe('ENOENT');
    for (const slot of [-1, 32_764, 0.5, Number.NaN]) expect(errorCode(() => vm.harvestDirty(slot))).toBe('EINVAL');
  });

  test('turned on and off: the log begins empty each time, and ends with ENOENT', () => {
    const world = createWorld(logged);
    world.vm.markDirty(gfn(1));
    drive(world.vm.setMemoryRegion(region(world)));
    expect(errorCode(() => world.vm.harvestDirty(0))).toBe('ENOENT');
    drive(world.vm.setMemoryRegion(region(world, { logDirtyPages: true })));
    expect(world.vm.harvestDirty(0)[0]).toBe(0);
  });

  test('a moved slot keeps its log, by page and not by address', () => {
    const world = createWorld(logged);
    world.vm.markDirty(gfn(2));
    drive(world.vm.setMemoryRegion(region(world, { gpa: 0x100_0000, logDirtyPages: true })));
    world.vm.markDirty((0x1000 + 3) as Gfn);
    expect(world.vm.harvestDirty(0)[0]).toBe(0b1100);
  });

  test('a harvest takes write access to the pages that it ships, as runs, and to no others', () => {
    class Protecting extends RecordingMmu {
      writeProtectGfnRange(start: Gfn, end: Gfn): void {
        this.calls.push(`protect ${start}..${end}`);
      }
    }
    const world = createWorld(logged);
    const [zapping, protecting] = [new RecordingMmu(), new Protecting()];
    world.vm.addSecondaryMmu(zapping);
    world.vm.addSecondaryMmu(protecting);
    for (const i of [1, 2, 6]) world.vm.markDirty(gfn(i));
    world.vm.harvestDirty(0);
    expect(zapping.calls).toEqual([`zap ${0x11}..${0x13}`, `zap ${0x16}..${0x17}`]);
    expect(protecting.calls).toEqual([`protect ${0x11}..${0x13}`, `protect ${0x16}..${0x17}`]);
    world.vm.harvestDirty(0);
    expect(zapping.calls).toHaveLength(2);
  });

  test('turning the log on takes write access to the whole slot, turning it off does not', () => {
    const world = createWorld();
    const mmu = new RecordingMmu();
    world.vm.addSecondaryMmu(mmu);
    drive(world.vm.setMemoryRegion(region(world, { logDirtyPages: true })));
    expect(mmu.calls).toEqual(['generation 2', `zap ${0x10}..${0x18}`]);
    drive(world.vm.setMemoryRegion(region(world)));
    expect(mmu.calls.slice(2)).toEqual(['generation 3']);
  });

  test('a harvest while somebody holds the mmu_lock across a yield is asserted', () => {
    const world = createWorld(logged);
    expect(world.vm.mmuLock.tryWrite()).toBe(true);
    expect(() => world.vm.harvestDirty(0)).toThrow('held across a yield');
  });

  test('a write that began before the log was turned on ends before the update does', () => {
    const world = createWorld();
    const writing = world.vm.writeGuest(BASE_GPA, Uint8Array.of(1));
    writing.next();
    const update = world.vm.setMemoryRegion(region(world, { logDirtyPages: true }));
    expect(runUntil(update, () => world.vm.memslots.get(0)?.dirtyLog !== undefined)).toBe(true);
    expect(runToPoint(update, 'synchronize srcu')).toBe(true);
    drive(writing);
    drive(update);
    expect(guestBytes(world, BASE_GPA, 1)).toEqual([1]);
  });
});

test('ENOENT and EFAULT of readGuest() are operating errors with text that names the address', () => {
  const { vm } = createWorld();
  const message = 'mmu-events: guest read failed: gpa 0x5000 has no memslot';
  expect(() => drive(vm.readGuest(0x5000 as Gpa, new Uint8Array(1)))).toThrow(
    new OperatingError('EFAULT', message, { gpa: 0x5000 }),
  );
});

test('two VMs on one address space hear of the same events and keep their own slots', () => {
  const host = new HostAddressSpace({ memory: createManagedMemory({ guestFrames: 16, kernelFrames: 4 }) });
  const vms = [new VmMemory({ host }), new VmMemory({ host })];
  const hva = host.mmap({ pages: 1 });
  for (const [i, vm] of vms.entries()) drive(vm.setMemoryRegion({ slot: 0, gpa: i * 4096, bytes: 4096, hva }));
  drive(host.fault(hva, write));
  drive(host.discard(pages(hva, 0)));
  expect(vms.map((vm) => vm.notifier.sequence)).toEqual([1, 1]);
  expect(vms.map((vm, i) => vm.gfnToHva(i as Gfn, read))).toEqual([hva, hva]);
  expect(vms[0]!.gfnToHva(1 as Gfn, read)).toBeUndefined();
});
