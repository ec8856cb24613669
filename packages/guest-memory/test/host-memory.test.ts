import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { AssertionError, type HostMemory, type Hpa, hpa, OperatingError, type Pfn, pfnToHpa } from '../src/index.ts';
import { kinds } from './kinds.ts';

const KERNEL = 4;
const GUEST = 8;
const PAGE = 4096;
const END = (KERNEL + GUEST) * PAGE;

describe.each(kinds)('%s memory', (_kind, create) => {
  let memory: HostMemory;

  beforeEach(() => {
    memory = create({ guestFrames: GUEST, kernelFrames: KERNEL, scratchBytes: 256 });
  });

  afterEach(() => memory.close());

  describe('shape', () => {
    test('kernel frames, then guest frames, then scratch, in one linear memory', () => {
      expect([memory.frameCount, memory.kernelFrames, memory.frames.frameCount]).toEqual([12, 4, 12]);
      expect(memory.frames.allocate('guest')).toBe(KERNEL);
      expect(memory.scratch.bytes).toBe(256);
      expect(memory.scratch.base).toBeGreaterThanOrEqual(END);
      expect(memory.scratch.base + 256).toBeLessThanOrEqual(memory.u8.length);
      expect(memory.scratch.base % 8).toBe(0);
    });

    test('all typed arrays are views of the whole buffer', () => {
      for (const array of [memory.u8, memory.u16, memory.u32, memory.i32, memory.u64]) {
        expect(array.buffer).toBe(memory.buffer);
        expect([array.byteOffset, array.byteLength]).toEqual([0, memory.buffer.byteLength]);
      }
      expect(memory.linear.buffer).toBe(memory.buffer);
    });

    test('scratch is writable and nothing else changes', () => {
      const { base, bytes } = memory.scratch;
      memory.u8.fill(0x5a, base, base + bytes);
      expect(memory.u8.subarray(0, END).every((byte) => byte === 0)).toBe(true);
    });

    test('defaults: 1024 kernel frames and a page of scratch', () => {
      const other = create({ guestFrames: 1 });
      expect([other.frameCount, other.kernelFrames, other.scratch.bytes]).toEqual([1025, 1024, 4096]);
      other.close();
    });

    test.each([
      { guestFrames: 0 },
      { guestFrames: -1 },
      { guestFrames: 1.5 },
      { guestFrames: Number.NaN },
      { guestFrames: 1, kernelFrames: 0 },
      { guestFrames: 1, scratchBytes: -1 },
    ])('%o is no size', (sizes) => {
      expect(() => create(sizes)).toThrow(AssertionError);
    });

    test('more than one linear memory can hold is ENOMEM', () => {
      expect(() => create({ guestFrames: 2 ** 20 })).toThrow(
        expect.objectContaining({ name: 'OperatingError', code: 'ENOMEM' }),
      );
      expect(() => create({ guestFrames: 2 ** 40 })).toThrow('exceed the 4294967296 of one memory');
    });
  });

  describe.each(['kernel', 'guest'] as const)('%s frames', (zone) => {
    test('map, physical view, read and write reach the same bytes', () => {
      const pfn = memory.frames.allocate(zone);
      const base = pfnToHpa(pfn);
      const mapping = memory.map(pfn);
      expect([mapping.pfn, mapping.live, mapping.view.length]).toEqual([pfn, true, PAGE]);
      mapping.view.setU32(8, 0x1234_5678);
      expect(memory.u32[(base + 8) / 4]).toBe(0x1234_5678);
      memory.u64[(base + 4088) / 8] = 0x1122_3344_5566_7788n;
      expect(mapping.view.u64(4088)).toBe(0x1122_3344_5566_7788n);
      memory.write(hpa(base + 100), Uint8Array.of(1, 2, 3));
      expect([...mapping.view.bytes(99, 5)]).toEqual([0, 1, 2, 3, 0]);
      const target = new Uint8Array(4);
      memory.read(hpa(base + 8), target);
      expect([...target]).toEqual([0x78, 0x56, 0x34, 0x12]);
      memory.unmap(mapping);
    });

    test('a mapping ends once: its end is seen, and a second end is refused', () => {
      const mapping = memory.map(memory.frames.allocate(zone));
      expect(memory.liveMappings).toBe(1);
      memory.unmap(mapping);
      expect([mapping.live, memory.liveMappings]).toEqual([false, 0]);
      expect(() => memory.unmap(mapping)).toThrow(`memory: unmap: the mapping of pfn ${mapping.pfn} is not live`);
      expect(memory.liveMappings).toBe(0);
    });

    test('one frame mapped many times: each mapping ends on its own', () => {
      const pfn = memory.frames.allocate(zone);
      const mappings = [memory.map(pfn), memory.map(pfn), memory.map(pfn)];
      expect(new Set(mappings).size).toBe(3);
      mappings[0]!.view.setU8(0, 1);
      memory.unmap(mappings[1]!);
      expect(mappings.map((mapping) => mapping.live)).toEqual([true, false, true]);
      expect([mappings[0]!.view.u8(0), mappings[2]!.view.u8(0)]).toEqual([1, 1]);
      memory.unmap(mappings[2]!);
      memory.unmap(mappings[0]!);
      expect(memory.liveMappings).toBe(0);
    });

    test('mappings of a frame that was mapped before are apart, too', () => {
      const pfn = memory.frames.allocate(zone);
      for (const mapping of [memory.map(pfn), memory.map(pfn)]) memory.unmap(mapping);
      const mappings = [memory.map(pfn), memory.map(pfn), memory.map(pfn)];
      expect(new Set(mappings).size).toBe(3);
      for (const [index, mapping] of mappings.entries()) {
        memory.unmap(mapping);
        expect(mappings.map(({ live }) => live)).toEqual([0, 1, 2].map((other) => other > index));
      }
    });

    test('mapping says nothing on allocation: a freed frame shows its poison', () => {
      const pfn = memory.frames.allocate(zone);
      memory.frames.put(pfn);
      const mapping = memory.map(pfn);
      expect(mapping.view.u32(0)).toBe(0xcccc_cccc);
      memory.unmap(mapping);
    });

    test('map and unmap many times over: nothing is used up', () => {
      const pfn = memory.frames.allocate(zone);
      for (let i = 0; i < 5000; i++) memory.unmap(memory.map(pfn));
      expect(memory.liveMappings).toBe(0);
    });
  });

  test.each([-1, END / PAGE, 2 ** 40, 4.5, Number.NaN])('map(%d) is no frame', (pfn) => {
    expect(() => memory.map(pfn as Pfn)).toThrow(`memory: map: pfn ${pfn} is not in 0..11`);
  });

  test.each(kinds)('a mapping of another memory (%s) is refused', (_other, createOther) => {
    const other = createOther({ guestFrames: 1, kernelFrames: 1 });
    const mapping = other.map(1 as Pfn);
    expect(() => memory.unmap(mapping)).toThrow('memory: unmap: the mapping comes from another memory');
    expect(mapping.live).toBe(true);
    other.close();
  });

  describe('read and write', () => {
    const FIRST = KERNEL * PAGE;

    test.each([0, 1, 7, 32, 33, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE])('%d bytes, crossing pages', (count) => {
      const source = Uint8Array.from({ length: count }, (_, i) => (i * 7 + 1) & 0xff);
      for (const at of [hpa(0), hpa(FIRST), hpa(FIRST + PAGE - 5), hpa(END - count)]) {
        memory.write(at, source);
        const target = new Uint8Array(count + 2).fill(0xee);
        memory.read(at, target.subarray(1, count + 1));
        expect(Buffer.compare(target, Uint8Array.of(0xee, ...source, 0xee))).toBe(0);
        expect(Buffer.compare(memory.u8.subarray(at, at + count), source)).toBe(0);
      }
    });

    test('a write leaves the bytes around it alone', () => {
      memory.write(hpa(FIRST + PAGE - 1), Uint8Array.of(1, 2));
      const around = new Uint8Array(4);
      memory.read(hpa(FIRST + PAGE - 2), around);
      expect([...around]).toEqual([0, 1, 2, 0]);
    });

    test('bytes may come from and go to a view of the same memory', () => {
      memory.write(
        hpa(FIRST),
        Uint8Array.from({ length: 64 }, (_, i) => i),
      );
      memory.read(hpa(FIRST), memory.u8.subarray(FIRST + PAGE, FIRST + PAGE + 64));
      memory.write(hpa(FIRST + 2 * PAGE), memory.u8.subarray(FIRST + PAGE, FIRST + PAGE + 64));
      expect(memory.u8[FIRST + 2 * PAGE + 63]).toBe(63);
    });

    test.each([
      [END - 1, 2],
      [END, 1],
      [-1, 1],
      [-1, 0],
      [0, END + 1],
      [0.5, 1],
      [Number.NaN, 1],
      [2 ** 52, 1],
    ])('%d with %d bytes leaves the frames', (at, count) => {
      const text = 'leaves the frames, which end at 0xc000';
      expect(() => memory.read(at as Hpa, new Uint8Array(count))).toThrow(text);
      expect(() => memory.write(at as Hpa, new Uint8Array(count))).toThrow(text);
    });

    test.each([
      [FIRST - 1, 2],
      [0, FIRST + 1],
      [0, END],
    ])('%d with %d bytes crosses from kernel into guest frames', (at, count) => {
      const text = 'crosses from kernel into guest frames at 0x4000';
      expect(() => memory.read(at as Hpa, new Uint8Array(count))).toThrow(text);
      expect(() => memory.write(at as Hpa, new Uint8Array(count))).toThrow(text);
    });
  });

  describe('reset', () => {
    test('frees the frames and ends the mappings of both zones; the memory is as new', () => {
      const mappings = (['kernel', 'guest'] as const).map((zone) => memory.map(memory.frames.allocate(zone)));
      memory.reset();
      expect([memory.liveMappings, memory.frames.liveCount()]).toEqual([0, 0]);
      for (const mapping of mappings) {
        expect(mapping.live).toBe(false);
        expect(() => memory.unmap(mapping)).toThrow('is not live');
      }
      expect([memory.frames.allocate('kernel'), memory.frames.allocate('guest')]).toEqual([1, KERNEL]);
      for (let round = 0; round < 3; round++) {
        const mapping = memory.map(KERNEL as Pfn);
        expect([mapping.live, mapping.view.u32(0)]).toEqual([true, 0]);
        memory.unmap(mapping);
      }
    });
  });

  describe('close', () => {
    test('ends mappings, and every later use is refused', () => {
      const pfn = memory.frames.allocate('guest');
      const kernel = memory.map(memory.frames.allocate('kernel'));
      const mapping = memory.map(pfn);
      memory.close();
      expect([kernel.live, mapping.live, memory.liveMappings]).toEqual([false, false, 0]);
      for (const [name, use] of [
        ['map', () => memory.map(pfn)],
        ['map', () => memory.map(1 as Pfn)],
        ['unmap', () => memory.unmap(mapping)],
        ['read', () => memory.read(pfnToHpa(pfn), new Uint8Array(1))],
        ['write', () => memory.write(pfnToHpa(pfn), new Uint8Array(1))],
        ['allocate', () => memory.frames.allocate('guest')],
        ['put', () => memory.frames.put(pfn)],
        ['reset', () => memory.reset()],
      ] as const) {
        expect(use).toThrow(new RegExp(`^(memory|frames): ${name}: the memory is closed$`));
      }
    });

    test('twice is once', () => {
      memory.close();
      memory.close();
    });
  });

  test('running out of frames is ENOMEM', () => {
    for (let i = 0; i < GUEST; i++) memory.frames.allocate('guest');
    expect(() => memory.frames.allocate('guest')).toThrow(OperatingError);
  });
});
