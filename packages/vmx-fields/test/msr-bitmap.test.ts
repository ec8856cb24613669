import { describe, expect, it } from 'vitest';
import {
  ioBitmapBit,
  msr,
  msrBitmap,
  msrBitmapBit,
  msrBitmapMergeRows,
  secondary,
  vmreadBitmapBit,
} from '../src/index.ts';

describe('msrBitmapBit', () => {
  it.each([
    ['read', 0, 0],
    ['read', 0x1fff, 0x1fff],
    ['read', 0xc000_0000, 0x2000],
    ['read', 0xc000_1fff, 0x3fff],
    ['write', 0, 0x4000],
    ['write', 0x1fff, 0x5fff],
    ['write', 0xc000_0000, 0x6000],
    ['write', 0xc000_1fff, 0x7fff],
  ] as const)('puts the %s of MSR %i at bit %i', (access, number, bit) => {
    expect(msrBitmapBit(number, access)).toBe(bit);
  });

  it('has no bit for an MSR outside the two ranges', () => {
    for (const number of [0x2000, 0x4000_0000, 0x7fff_ffff, 0xbfff_ffff, 0xc000_2000, 0xffff_ffff]) {
      expect(msrBitmapBit(number, 'read')).toBe(-1);
      expect(msrBitmapBit(number, 'write')).toBe(-1);
    }
  });

  it('takes a signed ECX', () => {
    expect(msrBitmapBit(0xc000_0080 | 0, 'write')).toBe(msrBitmapBit(msr.IA32_EFER, 'write'));
  });

  it('agrees with the table at both ends of each range', () => {
    for (const { access, byteOffset, bytes, msrFirst, msrLast } of msrBitmap) {
      expect(msrBitmapBit(msrFirst, access)).toBe(byteOffset * 8);
      expect(msrBitmapBit(msrLast, access)).toBe((byteOffset + bytes) * 8 - 1);
    }
  });
});

describe('msrBitmapMergeRows', () => {
  it('name only MSRs that a bitmap has a bit for', () => {
    for (const row of msrBitmapMergeRows) {
      expect(row.read || row.write).toBe(true);
      expect(row.msrFirst).toBeLessThanOrEqual(row.msrLast);
      expect(msrBitmapBit(row.msrFirst, 'read')).toBeGreaterThanOrEqual(0);
      expect(msrBitmapBit(row.msrLast, 'read') - msrBitmapBit(row.msrFirst, 'read')).toBe(row.msrLast - row.msrFirst);
    }
  });

  it('close the x2APIC range first, and open it only under virtualize-x2APIC mode', () => {
    const x2apic = msrBitmapMergeRows.filter((row) => row.msrFirst >= 0x800 && row.msrLast <= 0x8ff);
    expect(x2apic[0]).toMatchObject({ rule: 'intercept', msrFirst: 0x800, msrLast: 0x8ff, read: true, write: true });
    for (const row of x2apic.slice(1)) {
      expect(row.requires & secondary.SECONDARY_EXEC_VIRTUALIZE_X2APIC_MODE).not.toBe(0);
    }
  });

  it('come in their order', () => {
    const orders = msrBitmapMergeRows.map((row) => row.order);
    expect(orders).toEqual([...orders].sort((a, b) => a - b));
  });
});

describe('ioBitmapBit', () => {
  it('splits the ports at 0x8000', () => {
    expect(ioBitmapBit(0)).toEqual({ bitmap: 'a', bit: 0 });
    expect(ioBitmapBit(0x7fff)).toEqual({ bitmap: 'a', bit: 0x7fff });
    expect(ioBitmapBit(0x8000)).toEqual({ bitmap: 'b', bit: 0 });
    expect(ioBitmapBit(0xffff)).toEqual({ bitmap: 'b', bit: 0x7fff });
  });
});

describe('vmreadBitmapBit', () => {
  it('is bits 14:0 of the encoding, and none when a higher bit is set', () => {
    expect(vmreadBitmapBit(0x7fff)).toBe(0x7fff);
    expect(vmreadBitmapBit(0x8000)).toBe(-1);
    expect(vmreadBitmapBit(0x8000_0000 | 0)).toBe(-1);
  });
});
