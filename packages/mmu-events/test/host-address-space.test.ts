import { createManagedMemory, type Hva, PAGE_SIZE, type Pfn } from '@nvmx/guest-memory';
import { drive } from '@nvmx/sync';
import { describe, expect, test } from 'vitest';
import { HostAddressSpace, USER_ADDRESS_END } from '../src/index.ts';
import { at, errorCode, exhaust, failure, pages } from './support/world.ts';

function create(guestFrames = 16): { host: HostAddressSpace; memory: HostAddressSpace['memory'] } {
  const memory = createManagedMemory({ guestFrames, kernelFrames: 4 });
  return { host: new HostAddressSpace({ memory }), memory };
}

const write = { write: true };
const read = { write: false };

describe('mmap()', () => {
  test('maps without a frame, and leaves a gap before every mapping', () => {
    const { host } = create();
    const first = host.mmap({ pages: 2 });
    const second = host.mmap({ pages: 1 });
    expect(second - first).toBeGreaterThan(2 * PAGE_SIZE);
    expect(host.translate(first)).toBeUndefined();
    expect(host.residentPages).toBe(0);
    expect(failure(() => host.fault(at(first, -1), read))).toBe('EFAULT');
    expect(failure(() => host.fault(at(first, 2), read))).toBe('EFAULT');
  });

  test('takes the place that it is given, at either end of the user half', () => {
    const { host } = create();
    expect(host.mmap({ pages: 1, at: 0 as Hva })).toBe(0);
    const last = (USER_ADDRESS_END - PAGE_SIZE) as Hva;
    expect(host.mmap({ pages: 1, at: last })).toBe(last);
    expect(errorCode(() => host.mmap({ pages: 2, at: last }))).toBe('EINVAL');
  });

  test('refuses an overlap with EEXIST: each page of a mapping, and not its neighbors', () => {
    const { host } = create();
    const hva = host.mmap({ pages: 4 });
    for (let i = 0; i < 4; i++) expect(errorCode(() => host.mmap({ pages: 1, at: at(hva, i) }))).toBe('EEXIST');
    expect(errorCode(() => host.mmap({ pages: 2, at: at(hva, -1) }))).toBe('EEXIST');
    expect(errorCode(() => host.mmap({ pages: 1, at: at(hva, 4) }))).toBe('none');
  });

  test('finds a free place behind what is mapped already', () => {
    const { host } = create();
    const first = host.mmap({ pages: 1 });
    host.mmap({ pages: 1, at: at(first, 3) });
    const next = host.mmap({ pages: 4 });
    expect(next).toBeGreaterThan(at(first, 3));
  });

  test.each([0, -1, 1.5, Number.NaN])('refuses %s pages', (count) => {
    expect(() => create().host.mmap({ pages: count })).toThrow();
  });

  test('without address space: ENOMEM', () => {
    expect(errorCode(() => create().host.mmap({ pages: 2 ** 35 }))).toBe('ENOMEM');
  });
});

describe('fault()', () => {
  test('populates with zeros once, for a read as for a write', () => {
    const { host, memory } = create();
    const hva = host.mmap({ pages: 2 });
    const pfn = drive(host.fault(hva, read));
    expect(host.translate(hva)).toBe(pfn);
    expect(host.pte(hva)).toEqual({ pfn, writable: true, cow: false });
    expect(drive(host.fault((hva + 4095) as Hva, write))).toBe(pfn);
    expect(host.translate(at(hva, 1))).toBeUndefined();
    expect(memory.u8.subarray(pfn * 4096, (pfn + 1) * 4096).every((byte) => byte === 0)).toBe(true);
    expect(host.residentPages).toBe(1);
  });

  test('a write to a read-only mapping is EFAULT, a read is not, and says so in its entry', () => {
    const { host } = create();
    const hva = host.mmap({ pages: 1, writable: false });
    expect(failure(() => host.fault(hva, write))).toBe('EFAULT');
    const pfn = drive(host.fault(hva, read));
    expect(host.pte(hva)).toEqual({ pfn, writable: false, cow: false });
    expect(failure(() => host.fault(hva, write))).toBe('EFAULT');
  });

  test('without a free frame: ENOMEM, and nothing is populated', () => {
    const { host, memory } = create();
    const hva = host.mmap({ pages: 1 });
    const taken = exhaust(memory);
    expect(failure(() => host.fault(hva, write))).toBe('ENOMEM');
    expect(host.translate(hva)).toBeUndefined();
    memory.frames.put(taken[0]!);
    expect(drive(host.fault(hva, write))).toBe(taken[0]);
  });

  test('tryFault() answers for present entries that allow the access, and never populates', () => {
    const { host } = create();
    const hva = host.mmap({ pages: 2 });
    expect(host.tryFault(hva, read)).toBeUndefined();
    const pfn = drive(host.fault(hva, write));
    expect(host.tryFault(hva, read)).toBe(pfn);
    expect(host.tryFault(hva, write)).toBe(pfn);
    drive(host.protect(pages(hva, 0), { writable: false }));
    expect(host.tryFault(hva, read)).toBe(pfn);
    expect(host.tryFault(hva, write)).toBeUndefined();
    expect(host.tryFault(0 as Hva, read)).toBeUndefined();
  });

  test('two faults of one page that meet populate it once', () => {
    const { host, memory } = create();
    const hva = host.mmap({ pages: 1 });
    const [first, second] = [host.fault(hva, write), host.fault(hva, write)];
    first.next();
    second.next();
    expect(drive(first)).toBe(drive(second));
    expect(memory.frames.liveCount('guest')).toBe(1);
  });
});

describe('read() and write()', () => {
  test('cross pages and mappings that touch, and fault pages in', () => {
    const { host } = create();
    const hva = host.mmap({ pages: 2 });
    host.mmap({ pages: 1, at: at(hva, 2) });
    const bytes = Uint8Array.from({ length: 2 * PAGE_SIZE + 10 }, (_, i) => i % 251);
    drive(host.write((hva + 100) as Hva, bytes));
    const back = new Uint8Array(bytes.length);
    drive(host.read((hva + 100) as Hva, back));
    expect(back).toEqual(bytes);
  });

  test('nothing to copy touches nothing, even without a mapping', () => {
    const { host } = create();
    drive(host.read(0 as Hva, new Uint8Array(0)));
    drive(host.write(0 as Hva, new Uint8Array(0)));
    expect(host.residentPages).toBe(0);
  });

  test('EFAULT where the mapping ends: what came before is there', () => {
    const { host } = create();
    const hva = host.mmap({ pages: 1 });
    drive(host.write((hva + PAGE_SIZE - 2) as Hva, Uint8Array.of(7, 8)));
    const target = new Uint8Array(4);
    expect(failure(() => host.read((hva + PAGE_SIZE - 2) as Hva, target))).toBe('EFAULT');
    expect([...target]).toEqual([7, 8, 0, 0]);
    expect(failure(() => host.write((hva + PAGE_SIZE - 1) as Hva, Uint8Array.of(1, 2)))).toBe('EFAULT');
  });

  test('a write to a read-only mapping is EFAULT', () => {
    const { host } = create();
    const hva = host.mmap({ pages: 1, writable: false });
    expect(failure(() => host.write(hva, Uint8Array.of(1)))).toBe('EFAULT');
  });
});

describe('destroy()', () => {
  test('gives back every frame, shared ones once for each entry, and the mappings', () => {
    const { host, memory } = create();
    const hva = host.mmap({ pages: 4 });
    for (let i = 0; i < 4; i++) drive(host.fault(at(hva, i), write));
    drive(host.merge({ keep: hva, drop: at(hva, 1) }));
    drive(host.destroy());
    expect(memory.frames.liveCount('guest')).toBe(0);
    expect(host.residentPages).toBe(0);
    expect(failure(() => host.fault(hva, read))).toBe('EFAULT');
  });

  test('a pinned frame outlives the address space, for whoever pinned it', () => {
    const { host, memory } = create();
    const pfn: Pfn = drive(host.fault(host.mmap({ pages: 1 }), write));
    memory.frames.pin(pfn);
    drive(host.destroy());
    expect(memory.frames.references(pfn)).toBe(1);
    memory.frames.unpin(pfn);
    expect(memory.frames.liveCount('guest')).toBe(0);
  });
});
