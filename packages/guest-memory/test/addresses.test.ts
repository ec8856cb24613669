import { describe, expect, expectTypeOf, test } from 'vitest';
import {
  AssertionError,
  type Gfn,
  type Gpa,
  gfn,
  gfnToGpa,
  gpa,
  gpaFromBigint,
  gpaFromPair,
  gpaToGfn,
  hpa,
  hpaFromBigint,
  hpaFromPair,
  hpaToPfn,
  hva,
  hvaFromBigint,
  isAddress,
  PAGE_SHIFT,
  PAGE_SIZE,
  pageOffset,
  pageStart,
  pfn,
  pfnToHpa,
} from '../src/index.ts';

const LAST = 2 ** 52;
const addresses = [
  ['gpa', gpa],
  ['hva', hva],
  ['hpa', hpa],
] as const;
const frames = [
  ['gfn', gfn],
  ['pfn', pfn],
] as const;
const never = [-1, -0.5, 0.5, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 2 ** 53];

describe.each(addresses)('%s()', (name, make) => {
  test.each([0, 1, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, LAST - 1, LAST])('takes %d', (value) => {
    expect(make(value)).toBe(value);
  });

  test.each([...never, LAST + 1, LAST - 0.5])('refuses %d', (value) => {
    expect(() => make(value)).toThrow(AssertionError);
    expect(() => make(value)).toThrow(`${name}: ${value} is not an integer in 0..0x10000000000000`);
  });
});

describe.each(frames)('%s()', (name, make) => {
  test.each([0, 1, 2 ** 32, LAST / PAGE_SIZE])('takes %d', (value) => {
    expect(make(value)).toBe(value);
  });

  test.each([...never, LAST / PAGE_SIZE + 1])('refuses %d', (value) => {
    expect(() => make(value)).toThrow(`${name}: ${value} is not an integer in 0..0x10000000000`);
  });
});

describe('pages', () => {
  test('a page is 4 KiB', () => {
    expect(PAGE_SIZE).toBe(1 << PAGE_SHIFT);
  });

  test.each([
    [0, 0, 0],
    [1, 0, 1],
    [4095, 0, 4095],
    [4096, 1, 0],
    [2 ** 32 - 1, 2 ** 20 - 1, 4095],
    [2 ** 32, 2 ** 20, 0],
    [LAST - 1, 2 ** 40 - 1, 4095],
    [LAST, 2 ** 40, 0],
  ])('address %d is in frame %d at offset %d', (address, frame, offset) => {
    expect(gpaToGfn(gpa(address))).toBe(frame);
    expect(hpaToPfn(hpa(address))).toBe(frame);
    expect(gfnToGpa(gfn(frame))).toBe(address - offset);
    expect(pfnToHpa(pfn(frame))).toBe(address - offset);
    expect(pageStart(gpa(address))).toBe(address - offset);
    expect(pageOffset(address)).toBe(offset);
  });
});

describe('64-bit values', () => {
  test.each([0n, 0xffff_ffffn, 0x1_0000_0000n, 2n ** 52n])('a bigint of %d', (value) => {
    expect(gpaFromBigint(value)).toBe(Number(value));
    expect(hvaFromBigint(value)).toBe(Number(value));
    expect(hpaFromBigint(value)).toBe(Number(value));
  });

  test.each([-1n, 2n ** 52n + 1n, 2n ** 53n + 1n, 2n ** 64n - 1n])('a bigint of %d is refused', (value) => {
    expect(() => gpaFromBigint(value)).toThrow(AssertionError);
    expect(() => hvaFromBigint(value)).toThrow(AssertionError);
    expect(() => hpaFromBigint(value)).toThrow(AssertionError);
  });

  test('a pair, its halves signed or unsigned', () => {
    expect(gpaFromPair({ low: 0x8000_0000, high: 1 })).toBe(0x1_8000_0000);
    expect(gpaFromPair({ low: 0x8000_0000 | 0, high: 1 })).toBe(0x1_8000_0000);
    expect(hpaFromPair({ low: 0, high: 2 ** 20 })).toBe(LAST);
  });

  test('a pair beyond 2^52 is refused', () => {
    expect(() => gpaFromPair({ low: 1, high: 2 ** 20 })).toThrow(AssertionError);
    expect(() => hpaFromPair({ low: -1, high: -1 })).toThrow(AssertionError);
  });

  test('isAddress() is true exactly for what the constructors take', () => {
    for (const value of [0, 1, LAST, 0n, 2n ** 52n]) expect(isAddress(value)).toBe(true);
    for (const value of [...never, LAST + 1, -1n, 2n ** 52n + 1n]) expect(isAddress(value)).toBe(false);
  });
});

test('kinds of address do not mix', () => {
  expectTypeOf<Gpa>().not.toExtend<Gfn>();
  expectTypeOf<number>().not.toExtend<Gpa>();
  expectTypeOf<Gpa>().toExtend<number>();
  expectTypeOf(gpaToGfn).parameters.toEqualTypeOf<[Gpa]>();
});
