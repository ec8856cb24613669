import { PAGE_SIZE } from '@nvmx/guest-memory';
import { drive, LockOrder, setLockObserver } from '@nvmx/sync';
import { afterEach, describe, expect, test } from 'vitest';
import { Task } from './support/task.ts';
import {
  at,
  emptyGpa,
  gfnOf,
  loggedGpa,
  nowhere,
  readOnlyGpa,
  slotGpa,
  slotPages,
  unmanagedMemory,
  World,
} from './support/world.ts';

const gfn = gfnOf(slotGpa);
const hasUnmanaged = unmanagedMemory() !== undefined;

afterEach(() => setLockObserver(undefined));

describe('map', () => {
  test('shows the bytes of the page, on managed and on unmanaged memory', () => {
    for (const memory of [undefined, unmanagedMemory()]) {
      const world = new World(memory);
      drive(world.vm.writeGuest(at(slotGpa, 0x44), new Uint8Array([1, 2, 3, 4])));
      const map = world.mapped();
      expect(map).toMatchObject({ mapped: true, writable: true, gfn, pfn: world.pfnOf(slotGpa) });
      expect(map.view.u32(0x44)).toBe(0x0403_0201);
      map.view.setU32(0x48, 5);
      map.unmap();
      const bytes = new Uint8Array(4);
      drive(world.vm.readGuest(at(slotGpa, 0x48), bytes));
      expect([...bytes]).toEqual([5, 0, 0, 0]);
      world.finish();
    }
  });

  test('no memslot, before, behind and between the slots: EINVAL', () => {
    const world = new World();
    for (const gpa of [0, slotGpa - 1, slotGpa + slotPages * PAGE_SIZE, nowhere, 2 ** 52 - 1]) {
      const map = world.map();
      expect(drive(map.map(gfnOf(at(gpa, 0))))).toEqual({ ok: false, code: 'EINVAL' });
      expect(drive(map.mapReadonly(gfnOf(at(gpa, 0))))).toEqual({ ok: false, code: 'EINVAL' });
      expect(map.mapped).toBe(false);
    }
    world.finish();
  });

  test('a memslot with nothing mapped behind it: EINVAL, with what the host said', () => {
    const world = new World();
    const outcome = drive(world.map().map(gfnOf(emptyGpa)));
    expect(outcome).toMatchObject({ ok: false, code: 'EINVAL', cause: { code: 'EFAULT' } });
    world.finish();
  });

  test('a read-only memslot: EINVAL for writing, the page for reading', () => {
    const world = new World();
    const map = world.map();
    expect(drive(map.map(gfnOf(readOnlyGpa)))).toEqual({ ok: false, code: 'EINVAL' });
    expect(drive(map.mapReadonly(gfnOf(readOnlyGpa)))).toMatchObject({ ok: true });
    expect(map.writable).toBe(false);
    map.unmap();
    world.finish();
  });

  test('a memslot that is being deleted: EINVAL', () => {
    const world = new World();
    const update = new Task(world.setSlot({ bytes: 0 })).until(() => world.vm.memslots.updateInProgress);
    expect(drive(world.map().map(gfn))).toEqual({ ok: false, code: 'EINVAL' });
    update.finish();
    world.finish();
  });

  test('reading leaves a merged page shared; writing breaks it up', () => {
    const world = new World();
    for (const page of [0, 1]) drive(world.host.fault(world.range(page).start, { write: true }));
    drive(world.host.merge({ keep: world.range(0).start, drop: world.range(1).start }));
    const [reader, writer] = [world.map(), world.map()];
    drive(reader.mapReadonly(gfnOf(at(slotGpa, PAGE_SIZE))));
    expect(reader.pfn).toBe(world.pfnOf(slotGpa));
    reader.unmap();
    drive(writer.map(gfnOf(at(slotGpa, PAGE_SIZE))));
    expect(writer.pfn).not.toBe(world.pfnOf(slotGpa));
    writer.unmap();
    world.finish();
  });

  test('a managed frame is pinned from map to unmap: it cannot migrate, and a discard leaves it alive', () => {
    const world = new World();
    const map = world.mapped();
    const pfn = map.pfn!;
    const { frames } = world.memory;
    const birth = frames.birth(pfn);
    expect(frames.pinned(pfn)).toBe(true);
    expect(() => drive(world.host.migrate(world.slotHva))).toThrow('pinned');
    drive(world.host.discard(world.range(0)));
    expect(frames.birth(pfn), 'the old page, not a freed one').toBe(birth);
    map.unmap();
    expect(frames.birth(pfn)).toBe(0);
    world.finish();
  });

  test('the pin is there before anything can come between: a discard while map() sleeps', () => {
    const world = new World();
    const map = world.map();
    const mapping = new Task(map.map(gfn)).to('host-map: map');
    const pfn = world.pfnOf(slotGpa)!;
    drive(world.host.discard(world.range(0)));
    expect(mapping.finish()).toEqual({ ok: true, pfn });
    expect(world.memory.frames.birth(pfn)).not.toBe(0);
    map.unmap();
    world.finish();
  });

  test.skipIf(!hasUnmanaged)('a frame without a struct page is not pinned: it can be freed under the map', () => {
    const world = new World(unmanagedMemory());
    const map = world.mapped();
    const pfn = map.pfn!;
    expect(world.memory.frames.pinned(pfn)).toBe(false);
    drive(world.host.discard(world.range(0)));
    expect(world.memory.frames.birth(pfn), 'use after free, as documented').toBe(0);
    map.unmap();
    world.finish();
  });

  test.skipIf(!hasUnmanaged)('without allowUnsafeMappings such a frame is EINVAL', () => {
    const world = new World(unmanagedMemory());
    const map = world.map({ allowUnsafeMappings: false });
    expect(drive(map.map(gfn))).toEqual({ ok: false, code: 'EINVAL' });
    expect(drive(map.mapReadonly(gfn))).toEqual({ ok: false, code: 'EINVAL' });
    expect(map.statistics.maps).toBe(0);
    world.finish();
  });

  test('allowUnsafeMappings is no matter on managed memory', () => {
    const world = new World();
    const map = world.map({ allowUnsafeMappings: false });
    expect(drive(map.map(gfn))).toMatchObject({ ok: true });
    map.unmap();
    world.finish();
  });

  test.skipIf(!hasUnmanaged)('no room for a mapping: EFAULT with ENOMEM as its cause, and no pin left', () => {
    const world = new World(unmanagedMemory({ windows: 1 }));
    const [first, second] = [world.mapped(), world.map()];
    const outcome = drive(second.map(gfnOf(at(slotGpa, PAGE_SIZE))));
    expect(outcome).toMatchObject({ ok: false, code: 'EFAULT', cause: { code: 'ENOMEM' } });
    first.unmap();
    expect(drive(second.map(gfnOf(at(slotGpa, PAGE_SIZE))))).toMatchObject({ ok: true });
    second.unmap();
    world.finish();
  });

  test('no free frame: EINVAL with ENOMEM as its cause', () => {
    const world = new World();
    const { frames } = world.memory;
    const taken = Array.from({ length: frames.freeCount('guest') }, () => frames.allocate('guest'));
    const outcome = drive(world.map().map(gfn));
    expect(outcome).toMatchObject({ ok: false, code: 'EINVAL', cause: { code: 'ENOMEM' } });
    for (const pfn of taken) frames.put(pfn);
    world.finish();
  });

  test('mapping twice without an unmap is a programmer error', () => {
    const world = new World();
    const map = world.mapped();
    expect(() => drive(map.map(gfn))).toThrow('mapped already');
    map.unmap();
    world.finish();
  });

  test('sleeps under no lock, and says where', () => {
    const order = new LockOrder();
    setLockObserver(order);
    const world = new World();
    world.mapped().unmap();
    order.taskEnds();
    const spin = world.vm.mmuLock;
    drive(spin.write());
    expect(() => drive(world.map().map(gfn))).toThrow('may sleep');
    spin.endWrite();
  });
});

describe('unmap', () => {
  test('of what was never mapped does nothing, and neither does a second one', () => {
    const world = new World();
    const map = world.map();
    map.unmap();
    expect(map.statistics).toMatchObject({ maps: 0, unmaps: 0 });
    drive(map.map(gfn));
    map.unmap();
    map.unmap();
    expect(map.statistics).toMatchObject({ maps: 1, unmaps: 1 });
    expect(map).toMatchObject({ mapped: false, writable: false, gfn: undefined, pfn: undefined });
    expect(() => map.view).toThrow('not mapped');
    world.finish();
  });

  test('marks a page dirty that was mapped for writing, at unmap and not before', () => {
    const world = new World();
    const map = world.mapped(at(loggedGpa, 3 * PAGE_SIZE));
    world.harvest();
    map.view.setU32(0, 1);
    expect(world.harvest(), 'a harvest in between misses the write, as documented').toEqual([]);
    map.unmap();
    expect(world.harvest()).toEqual([3]);
    world.finish();
  });

  test('markDirty() marks it at once', () => {
    const world = new World();
    const map = world.mapped(at(loggedGpa, 3 * PAGE_SIZE));
    world.harvest();
    map.markDirty();
    expect(world.harvest()).toEqual([3]);
    map.unmap({ dirty: false });
    expect(world.harvest()).toEqual([]);
    map.markDirty();
    expect(world.harvest(), 'nothing is mapped').toEqual([]);
    world.finish();
  });

  test('a page mapped for reading is never dirty, and marking it is a programmer error', () => {
    const world = new World();
    const map = world.map();
    drive(map.mapReadonly(gfnOf(loggedGpa)));
    world.harvest();
    expect(() => map.markDirty()).toThrow('for reading');
    map.unmap();
    expect(world.harvest()).toEqual([]);
    world.finish();
  });
});

describe('what a map does not promise', () => {
  test('a memslot that is deleted or moved: the old page stays mapped', () => {
    const world = new World();
    const map = world.mapped();
    const { pfn } = map;
    drive(world.setSlot({ gpa: 0x60_0000 }));
    map.view.setU32(0, 9);
    expect(map.pfn).toBe(pfn);
    const bytes = new Uint8Array(1);
    drive(world.vm.readGuest(at(0x60_0000, 0), bytes));
    expect(bytes[0], 'the write went to where the page is now').toBe(9);
    map.unmap();
    world.finish();
  });

  test('a copy-on-write break elsewhere: a read-only map keeps the page that is not the guest page any more', () => {
    const world = new World();
    for (const page of [0, 1]) drive(world.host.fault(world.range(page).start, { write: true }));
    drive(world.host.merge({ keep: world.range(0).start, drop: world.range(1).start }));
    const map = world.map();
    drive(map.mapReadonly(gfn));
    drive(world.vm.writeGuest(slotGpa, new Uint8Array([5])));
    expect(map.view.u8(0)).toBe(0);
    map.unmap();
    world.finish();
  });

  test('contents are not frozen: another writer changes them under the map', () => {
    const world = new World();
    const map = world.mapped();
    expect(map.view.u8(0)).toBe(0);
    drive(world.vm.writeGuest(slotGpa, new Uint8Array([8])));
    expect(map.view.u8(0)).toBe(8);
    map.unmap();
    world.finish();
  });
});

test('emits maps and unmaps to the trace sink', () => {
  const world = new World();
  const names: string[] = [];
  const map = world.map({ trace: (event) => names.push(event.name) });
  drive(map.map(gfn));
  map.unmap();
  map.unmap();
  expect(names).toEqual(['kvm_vcpu_map', 'kvm_vcpu_unmap']);
  world.finish();
});
