import { gpa, hva, PAGE_SIZE } from '@nvmx/guest-memory';
import { USER_ADDRESS_END } from '@nvmx/mmu-events';
import { drive } from '@nvmx/sync';
import { describe, expect, test } from 'vitest';
import { PfnCache } from '../src/index.ts';
import { at, emptyGpa, hvaAt, nowhere, readOnlyGpa, slotGpa, slotPages, World } from './support/world.ts';

const einval = { ok: false, code: 'EINVAL' };

/** KVM_BUG_ON: only a cache that can be refreshed while inactive gets there. */
class WithoutActiveFlag extends PfnCache {
  protected override activeFlag(): boolean {
    return false;
  }
}

describe('activate', () => {
  test('a fresh cache is inactive, invalid, off the list, and holds nothing', () => {
    const world = new World();
    const cache = world.cache();
    expect(cache).toMatchObject({
      active: false,
      valid: false,
      listed: false,
      epoch: 0,
      access: 'write',
      vcpu: 'none',
    });
    expect([cache.gpa, cache.hva, cache.pfn, cache.generation]).toEqual([undefined, undefined, undefined, undefined]);
    expect(cache.hvaPage()).toBe(-1);
    expect(cache.beginUse()).toBe(false);
    expect(cache.isCurrent(cache.stamp())).toBe(false);
    world.finish(cache);
  });

  test('caches the frame of the gpa: active, valid, on the list, with the tag of the memslots', () => {
    const world = new World();
    const cache = world.cache();
    const outcome = drive(cache.activate(at(slotGpa, 0x40), 8));
    expect(outcome).toEqual({ ok: true, pfn: world.pfnOf(slotGpa), stamp: cache.stamp() });
    expect(cache).toMatchObject({ active: true, valid: true, listed: true, gpa: at(slotGpa, 0x40), offset: 0x40 });
    expect(cache.hva).toBe(hvaAt(world.slotHva, 0x40));
    expect(cache.hvaPage()).toBe(world.slotHva / PAGE_SIZE);
    expect(cache.generation).toBe(world.vm.memslots.tag);
    world.finish(cache);
  });

  test('the range may end at the page and not behind it: EINVAL, and the cache is not activated', () => {
    const world = new World();
    for (const offset of [0, 1, 64, 0x800, 0xfff]) {
      const cache = world.cache();
      expect(drive(cache.activate(at(slotGpa, offset), PAGE_SIZE - offset + 1))).toEqual(einval);
      expect(cache).toMatchObject({ active: false, listed: false });
      expect(drive(cache.activate(at(slotGpa, offset), PAGE_SIZE - offset))).toMatchObject({ ok: true });
      expect(drive(cache.activate(at(slotGpa, offset), PAGE_SIZE + 1))).toEqual(einval);
      expect(cache.valid, 'an EINVAL changes nothing').toBe(true);
      drive(cache.deactivate());
    }
    world.finish();
  });

  test('what is no address is EINVAL: 2^52 and what no constructor makes', () => {
    const world = new World();
    const cache = world.cache();
    for (const bad of [2 ** 52, 2 ** 52 + 2, -1, -4096, 0.5, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(drive(cache.activate(bad as never, 1)), `gpa ${bad}`).toEqual(einval);
    }
    expect(drive(cache.activate(gpa(2 ** 52 - 1), 1))).toMatchObject({ ok: false, code: 'EFAULT' });
    world.finish(cache);
  });

  test('a length that is no count of bytes is a programmer error', () => {
    const world = new World();
    const cache = world.cache();
    for (const bytes of [0, -1, 1.5, Number.NaN]) expect(() => drive(cache.activate(slotGpa, bytes))).toThrow('bytes');
    world.finish(cache);
  });

  test('no memslot, before, between and behind the slots: EFAULT, active and not valid, and nothing mapped', () => {
    const world = new World();
    const end = at(slotGpa, slotPages * PAGE_SIZE);
    for (const address of [gpa(0), at(slotGpa, -1), end, nowhere]) {
      const cache = world.cache();
      expect(drive(cache.activate(address, 1))).toEqual({ ok: false, code: 'EFAULT' });
      expect(cache).toMatchObject({ active: true, valid: false, listed: true });
      expect([cache.hva, cache.pfn]).toEqual([undefined, undefined]);
      expect(cache.beginUse()).toBe(false);
      expect(cache.statistics.maps).toBe(0);
      drive(cache.deactivate());
    }
    world.finish();
  });

  test('a memslot with nothing mapped behind it: EFAULT, with what the host said', () => {
    const world = new World();
    const cache = world.cache();
    const outcome = drive(cache.activate(emptyGpa, 1));
    expect(outcome).toMatchObject({ ok: false, code: 'EFAULT', cause: { code: 'EFAULT' } });
    world.finish(cache);
  });

  test('write access to a read-only memslot is EFAULT; read access is not', () => {
    const world = new World();
    const [writer, reader] = [world.cache(), world.cache({ access: 'read' })];
    expect(drive(writer.activate(readOnlyGpa, 1))).toMatchObject({ code: 'EFAULT' });
    expect(drive(reader.activate(readOnlyGpa, 1))).toMatchObject({ ok: true });
    expect(reader.beginUse()).toBe(true);
    expect(() => reader.endUse({ wrote: true })).toThrow('for reading');
    reader.endUse();
    world.finish(writer, reader);
  });

  test('read access leaves a merged page shared; write access breaks it up', () => {
    const world = new World();
    for (const page of [0, 1]) drive(world.host.fault(world.range(page).start, { write: true }));
    drive(world.host.merge({ keep: world.range(0).start, drop: world.range(1).start }));
    const reader = world.cache({ access: 'read' });
    drive(reader.activate(at(slotGpa, PAGE_SIZE), 1));
    expect(reader.pfn).toBe(world.pfnOf(slotGpa));
    const writer = world.cache();
    drive(writer.activate(at(slotGpa, PAGE_SIZE), 1));
    expect(writer.pfn).not.toBe(world.pfnOf(slotGpa));
    expect(reader.valid, 'the break of copy-on-write is an invalidation').toBe(false);
    world.finish(reader, writer);
  });

  test('a second activate moves the cache: one mapping, another stamp, indexed at the new page', () => {
    const world = new World();
    const cache = world.active(slotGpa);
    const stamp = cache.stamp();
    expect(drive(cache.activate(at(slotGpa, 2 * PAGE_SIZE), 4))).toMatchObject({ ok: true });
    expect(cache.pfn).toBe(world.pfnOf(at(slotGpa, 2 * PAGE_SIZE)));
    expect(cache.isCurrent(stamp)).toBe(false);
    expect(cache.statistics).toMatchObject({ maps: 2, unmaps: 1 });
    drive(world.host.discard(world.range(0)));
    expect(cache.valid, 'the old page is none of its business').toBe(true);
    drive(world.host.discard(world.range(2)));
    expect(cache.valid).toBe(false);
    world.finish(cache);
  });

  test('a move that fails gives the old page up', () => {
    const world = new World();
    const cache = world.active(slotGpa);
    const stamp = cache.stamp();
    expect(drive(cache.activate(nowhere, 4))).toMatchObject({ code: 'EFAULT' });
    expect(cache.isCurrent(stamp)).toBe(false);
    expect(cache.statistics).toMatchObject({ maps: 1, unmaps: 1 });
    expect(cache.pfn).toBeUndefined();
    world.finish(cache);
  });

  test('a cache that is valid without being active is EIO', () => {
    const world = new World();
    const cache = world.active(slotGpa, (o) => new WithoutActiveFlag(o));
    drive(cache.deactivate());
    expect(drive(cache.refresh(4))).toMatchObject({ ok: true });
    expect(drive(cache.activate(slotGpa, 4))).toEqual({ ok: false, code: 'EIO' });
  });
});

describe('activateHva', () => {
  test('caches a page that no memslot covers, and updates of memslots leave it usable', () => {
    const world = new World();
    const cache = world.cache();
    expect(drive(cache.activateHva(hvaAt(world.plainHva, 0x18), 8))).toMatchObject({ ok: true });
    expect(cache).toMatchObject({ gpa: undefined, generation: undefined, offset: 0x18 });
    expect(cache.pfn).toBe(world.host.translate(world.plainHva));
    const stamp = cache.stamp();
    drive(world.setSlot({ bytes: 0 }));
    expect(cache.isCurrent(stamp)).toBe(true);
    expect(cache.beginUse()).toBe(true);
    cache.endUse({ wrote: true });
    world.finish(cache);
  });

  test('an invalidation takes it away as any other', () => {
    const world = new World();
    const cache = world.cache();
    drive(cache.activateHva(world.plainHva, 8));
    const stamp = cache.stamp();
    drive(world.host.migrate(world.plainHva));
    expect(cache.isCurrent(stamp)).toBe(false);
    expect(cache.beginUse()).toBe(false);
    expect(drive(cache.refresh(8))).toMatchObject({ ok: true });
    expect(cache.pfn).toBe(world.host.translate(world.plainHva));
    expect(cache.isCurrent(stamp)).toBe(false);
    world.finish(cache);
  });

  test('access_ok: up to the end of user addresses, and not a byte further', () => {
    const world = new World();
    const cache = world.cache();
    expect(drive(cache.activateHva(hva(USER_ADDRESS_END), 1))).toEqual(einval);
    expect(drive(cache.activateHva(hva(USER_ADDRESS_END - 1), 2))).toEqual(einval);
    expect(drive(cache.activateHva(-8 as never, 1))).toEqual(einval);
    expect(cache.active).toBe(false);
    expect(drive(cache.activateHva(hva(USER_ADDRESS_END - 1), 1))).toMatchObject({ code: 'EFAULT' });
    world.finish(cache);
  });

  test('the range may not cross a page: EINVAL', () => {
    const world = new World();
    const cache = world.cache();
    expect(drive(cache.activateHva(hvaAt(world.plainHva, 0xffc), 5))).toEqual(einval);
    expect(drive(cache.activateHva(hvaAt(world.plainHva, 0xffc), 4))).toMatchObject({ ok: true });
    world.finish(cache);
  });

  test('one cache changes between gpa and hva, with another stamp each time even for the same page', () => {
    const world = new World();
    const cache = world.active(slotGpa);
    const stamps = [cache.stamp()];
    drive(cache.activateHva(world.slotHva, 4));
    stamps.push(cache.stamp());
    drive(cache.activate(slotGpa, 4));
    stamps.push(cache.stamp());
    expect(new Set(stamps).size).toBe(3);
    expect(cache.statistics.maps, 'the page stayed where it was').toBe(1);
    expect(cache.generation).toBe(world.vm.memslots.tag);
    world.finish(cache);
  });
});
