import { describe, expect, test } from 'vitest';
import { AssertionError, PageView } from '../src/index.ts';
import { viewsOf } from './views.ts';

const LENGTH = 64;

/** A view of 64 bytes between two guards of 0xee. */
function guarded(o: { shared: boolean }) {
  const memory = viewsOf({ bytes: 128, shared: o.shared });
  memory.u8.fill(0xee);
  memory.u8.fill(0, 32, 32 + LENGTH);
  return { memory, view: new PageView(memory, 32, LENGTH) };
}

const widths = [
  { bits: 8, bytes: 1, get: 'u8', set: 'setU8', largest: 0xff },
  { bits: 16, bytes: 2, get: 'u16', set: 'setU16', largest: 0xffff },
  { bits: 32, bytes: 4, get: 'u32', set: 'setU32', largest: 0xffff_ffff },
] as const;

describe.each(widths)('u$bits', ({ bits, bytes, get, set, largest }) => {
  test('each aligned offset holds its own value, little-endian, guards untouched', () => {
    const { memory, view } = guarded({ shared: false });
    const data = new DataView(memory.u8.buffer, 32, LENGTH);
    for (let offset = 0; offset < LENGTH; offset += bytes) {
      view[set](offset, (largest - offset) >>> 0);
      expect(view[get](offset)).toBe((largest - offset) >>> 0);
      const read =
        bits === 8 ? data.getUint8(offset) : bits === 16 ? data.getUint16(offset, true) : data.getUint32(offset, true);
      expect(read).toBe((largest - offset) >>> 0);
    }
    expect(memory.u8.subarray(0, 32).every((byte) => byte === 0xee)).toBe(true);
    expect(memory.u8.subarray(96).every((byte) => byte === 0xee)).toBe(true);
  });

  test('stores modulo its width', () => {
    const { view } = guarded({ shared: false });
    view[set](8, -1);
    expect(view[get](8)).toBe(largest);
    view[set](8, largest + 1);
    expect(view[get](8)).toBe(0);
  });

  test('every unaligned offset is refused', () => {
    const { view } = guarded({ shared: false });
    for (let offset = 0; offset < LENGTH; offset++) {
      if (offset % bytes === 0) continue;
      expect(() => view[get](offset)).toThrow(AssertionError);
      expect(() => view[set](offset, 1)).toThrow(AssertionError);
    }
  });

  test.each([-bytes, LENGTH, LENGTH + bytes, 2 ** 32, 2 ** 32 + bytes, -(2 ** 32), 0.5, Number.NaN])(
    'offset %d is outside',
    (offset) => {
      const { view } = guarded({ shared: false });
      const text = `page view: ${bytes} bytes at offset ${offset} of 64 are outside or unaligned`;
      expect(() => view[get](offset)).toThrow(text);
      expect(() => view[set](offset, 1)).toThrow(text);
    },
  );
});

describe('i32', () => {
  test('is the same bytes with a sign', () => {
    const { view } = guarded({ shared: false });
    view.setU32(4, 0x8000_0001);
    expect(view.i32(4)).toBe(-0x7fff_ffff);
    expect(() => view.i32(61)).toThrow(AssertionError);
  });
});

describe('u64', () => {
  test('as a bigint and as a pair', () => {
    const { view } = guarded({ shared: false });
    view.setU64(8, 0x8123_4567_89ab_cdefn);
    expect([view.u64(8), view.u64Low(8), view.u64High(8)]).toEqual([0x8123_4567_89ab_cdefn, 0x89ab_cdef, 0x8123_4567]);
    view.setU64Pair(8, -1, 0x7fff_ffff);
    expect(view.u64(8)).toBe(0x7fff_ffff_ffff_ffffn);
    view.setU64(8, -1n);
    expect(view.u64(8)).toBe(0xffff_ffff_ffff_ffffn);
    expect([view.u64(0), view.u64(16)]).toEqual([0n, 0n]);
  });

  test.each([-8, 4, 60, 64])('offset %d is refused by each accessor', (offset) => {
    const { view } = guarded({ shared: false });
    for (const use of [
      () => view.u64(offset),
      () => view.setU64(offset, 1n),
      () => view.u64Low(offset),
      () => view.u64High(offset),
      () => view.setU64Pair(offset, 1, 1),
    ]) {
      expect(use).toThrow(AssertionError);
    }
  });
});

describe('bytes', () => {
  test('are live, the whole view or a part of it', () => {
    const { memory, view } = guarded({ shared: false });
    expect(view.bytes()).toHaveLength(LENGTH);
    expect(view.bytes(60)).toHaveLength(4);
    expect(view.bytes(64)).toHaveLength(0);
    view.bytes(2, 3).set([1, 2, 3]);
    expect([...memory.u8.subarray(33, 38)]).toEqual([0, 1, 2, 3, 0]);
  });

  test.each([
    [-1, 1],
    [0, 65],
    [64, 1],
    [0, -1],
    [0.5, 1],
    [0, 1.5],
    [65, undefined],
  ])('(%s, %s) is refused', (offset, count) => {
    expect(() => guarded({ shared: false }).view.bytes(offset, count)).toThrow(AssertionError);
  });
});

describe.each([true, false])('atomics, shared: %s', (shared) => {
  test('or, and, exchange return the OLD value, unsigned', () => {
    const { view } = guarded({ shared });
    view.setU32(4, 0x8000_0001);
    expect(view.orU32(4, 0x8000_0010)).toBe(0x8000_0001);
    expect(view.andU32(4, 0x8000_0010 | 0)).toBe(0x8000_0011);
    expect(view.exchangeU32(4, -1)).toBe(0x8000_0010);
    expect(view.u32(4)).toBe(0xffff_ffff);
  });

  test('compare-exchange stores exactly when it returns what was expected', () => {
    const { view } = guarded({ shared });
    view.setU32(4, 0xffff_fffe);
    expect(view.compareExchangeU32(4, 0xffff_fffe, 5)).toBe(0xffff_fffe);
    expect(view.compareExchangeU32(4, 0xffff_fffe, 6)).toBe(5);
    expect(view.u32(4)).toBe(5);
  });

  test('unaligned and outside is refused', () => {
    const { view } = guarded({ shared });
    for (const offset of [-4, 2, 62, 64]) {
      expect(() => view.orU32(offset, 1)).toThrow(AssertionError);
      expect(() => view.andU32(offset, 1)).toThrow(AssertionError);
      expect(() => view.exchangeU32(offset, 1)).toThrow(AssertionError);
      expect(() => view.compareExchangeU32(offset, 0, 1)).toThrow(AssertionError);
    }
  });
});

describe('construction', () => {
  test('a view is a page unless said otherwise', () => {
    const view = new PageView(viewsOf({ bytes: 8192, shared: false }), 4096);
    expect([view.base, view.length]).toEqual([4096, 4096]);
  });

  test.each([-8, 4, 0.5, Number.NaN])('base %d is no multiple of 8', (base) => {
    expect(() => new PageView(viewsOf({ bytes: 64, shared: false }), base, 8)).toThrow('is not a multiple of 8');
  });

  test.each([-1, 0.5, Number.NaN])('length %d is no count of bytes', (length) => {
    expect(() => new PageView(viewsOf({ bytes: 64, shared: false }), 0, length)).toThrow('is not a count of bytes');
  });

  test('a view may end with the memory, and not after it', () => {
    const memory = viewsOf({ bytes: 64, shared: false });
    expect(new PageView(memory, 56, 8).u64(0)).toBe(0n);
    expect(() => new PageView(memory, 56, 9)).toThrow('[56, 65) leaves the memory');
  });

  test('a view shorter than a field has no place for it', () => {
    const view = new PageView(viewsOf({ bytes: 64, shared: false }), 0, 3);
    expect([view.u8(2), view.u16(0)]).toEqual([0, 0]);
    expect(() => view.u16(2)).toThrow(AssertionError);
    expect(() => view.u32(0)).toThrow(AssertionError);
    expect(() => new PageView(viewsOf({ bytes: 64, shared: false }), 0, 0).u8(0)).toThrow(AssertionError);
  });
});
