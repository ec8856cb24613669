import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  addressHigh,
  addressLow,
  bigHigh,
  bigLow,
  fitsPhysicalWidth,
  isAligned,
  isCanonicalPair,
  pairToAddress,
  pairToBig,
} from '../src/index.ts';

const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const seed = { seed: 0x6e766d78 };

describe('pairs and bigints', () => {
  it('convert back and forth, whether the halves come signed or unsigned', () => {
    fc.assert(
      fc.property(u64, (value) => {
        expect(pairToBig(bigLow(value), bigHigh(value))).toBe(value);
        expect(pairToBig(bigLow(value) | 0, bigHigh(value) | 0)).toBe(value);
      }),
      seed,
    );
    expect([bigLow(-1n), bigHigh(-1n)]).toEqual([0xffff_ffff, 0xffff_ffff]);
  });
});

describe('pairs and addresses', () => {
  it('convert back and forth below 2^52', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 52 - 1 }), (address) => {
        expect(pairToAddress(addressLow(address), addressHigh(address))).toBe(address);
      }),
      seed,
    );
  });

  it('convert at the edges of 2^31 and 2^32, to unsigned halves', () => {
    for (const [address, low, high] of [
      [2 ** 31 - 1, 0x7fff_ffff, 0],
      [2 ** 31, 0x8000_0000, 0],
      [2 ** 32 - 1, 0xffff_ffff, 0],
      [2 ** 32, 0, 1],
      [2 ** 51, 0, 0x8_0000],
      [2 ** 52 - 1, 0xffff_ffff, 0xf_ffff],
    ] as const) {
      expect([addressLow(address), addressHigh(address)]).toEqual([low, high]);
      expect(pairToAddress(low, high)).toBe(address);
    }
  });

  it('assert at 2^52', () => {
    expect(pairToAddress(-1, 0xf_ffff)).toBe(2 ** 52 - 1);
    expect(() => pairToAddress(0, 0x10_0000)).toThrow('no address below 2^52');
    expect(() => pairToAddress(1, -1)).toThrow('0xffffffff_1 is no address below 2^52');
  });
});

describe('isCanonicalPair', () => {
  it.each([48, 57] as const)('holds when the address sign-extends from %i bits', (addressBits) => {
    fc.assert(
      fc.property(u64, (value) => {
        const canonical = BigInt.asUintN(64, BigInt.asIntN(addressBits, value)) === value;
        expect(isCanonicalPair(bigHigh(value), { addressBits })).toBe(canonical);
      }),
      seed,
    );
  });

  it.each([
    [48, 0x7fff, true],
    [48, 0x8000, false],
    [48, 0xffff_7fff, false],
    [48, 0xffff_8000, true],
    [57, 0x00ff_ffff, true],
    [57, 0x0100_0000, false],
    [57, 0xfeff_ffff, false],
    [57, 0xff00_0000, true],
  ] as const)('decides at the edges of %i bits: high half %i is %s', (addressBits, high, canonical) => {
    expect(isCanonicalPair(high, { addressBits })).toBe(canonical);
  });
});

describe('fitsPhysicalWidth', () => {
  it('holds below 2^width and not at it, for every width', () => {
    for (let width = 33; width <= 52; width += 1) {
      expect(fitsPhysicalWidth(2 ** (width - 32) - 1, { width })).toBe(true);
      expect(fitsPhysicalWidth(2 ** (width - 32), { width })).toBe(false);
    }
    expect([fitsPhysicalWidth(0, { width: 32 }), fitsPhysicalWidth(1, { width: 32 })]).toEqual([true, false]);
    expect(fitsPhysicalWidth(-1, { width: 52 })).toBe(false);
  });
});

describe('isAligned', () => {
  it('holds for multiples only', () => {
    expect([0, 64, -64, 4096].map((low) => isAligned(low, { bytes: 64 }))).toEqual([true, true, true, true]);
    expect([1, 63, 65].map((low) => isAligned(low, { bytes: 64 }))).toEqual([false, false, false]);
  });
});
