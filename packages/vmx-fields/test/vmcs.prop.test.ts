import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { field, fieldBits, fieldByEncoding, fieldRows, Vmcs } from '../src/index.ts';

const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const anyRow = fc.constantFrom(...fieldRows);
const seed = { seed: 0x6e766d78 };

describe('Vmcs', () => {
  it('gives back through writeField what fits the width, for every field', () => {
    fc.assert(
      fc.property(u64, (value) => {
        const vmcs = new Vmcs();
        for (const row of fieldRows) vmcs.writeField({ row, high: false }, value);
        for (const row of fieldRows) {
          expect(vmcs.readField({ row, high: false })).toBe(BigInt.asUintN(fieldBits(row.width), value));
        }
      }),
      { ...seed, numRuns: 40 },
    );
  });

  it('writes the high half of a 64-bit field and leaves the low half', () => {
    for (const row of fieldRows.filter((candidate) => candidate.width === 'u64')) {
      const vmcs = new Vmcs();
      vmcs.writeBig(row.word, 0x1111_2222_3333_4444n);
      const high = fieldByEncoding(row.encoding + 1)!;
      vmcs.writeField(high, 0xaaaa_bbbb_cccc_ddddn);
      expect(vmcs.readBig(row.word)).toBe(0xcccc_dddd_3333_4444n);
      expect(vmcs.readField(high)).toBe(0xcccc_ddddn);
    }
  });

  it('stores the same through writeFieldPair, for every field and half, signed halves or not', () => {
    const accesses = fieldRows.flatMap((row) =>
      (row.width === 'u64' ? [false, true] : [false]).map((high) => ({ row, high })),
    );
    fc.assert(
      fc.property(u32, u32, u64, (low, high, before) => {
        for (const access of accesses) {
          const [expected, plain, signed] = [new Vmcs(), new Vmcs(), new Vmcs()];
          for (const vmcs of [expected, plain, signed]) vmcs.writeField({ row: access.row, high: false }, before);
          expected.writeField(access, (BigInt(high) << 32n) | BigInt(low));
          plain.writeFieldPair(access, low, high);
          signed.writeFieldPair(access, low | 0, high | 0);
          expect(plain.words, access.row.name).toEqual(expected.words);
          expect(signed.words, access.row.name).toEqual(expected.words);
        }
      }),
      { ...seed, numRuns: 10 },
    );
  });

  it('keeps every other field when one is written', () => {
    fc.assert(
      fc.property(anyRow, u64, u64, (row, before, value) => {
        const vmcs = new Vmcs();
        for (const each of fieldRows) vmcs.writeBig(each.word, before);
        vmcs.writeBig(row.word, value);
        for (const each of fieldRows) expect(vmcs.readBig(each.word)).toBe(each === row ? value : before);
      }),
      { ...seed, numRuns: 20 },
    );
  });

  it('agrees between 32-bit, pair and bigint accessors', () => {
    fc.assert(
      fc.property(anyRow, u32, u32, ({ word }, low, high) => {
        const vmcs = new Vmcs();
        vmcs.write64(word, low, high);
        expect(vmcs.read32(word)).toBe(low);
        expect(vmcs.read32(word + 1)).toBe(high);
        expect(vmcs.readBig(word)).toBe((BigInt(high) << 32n) | BigInt(low));
        vmcs.write32(word, high);
        expect(vmcs.readBig(word)).toBe((BigInt(high) << 32n) | BigInt(high));
      }),
      seed,
    );
  });

  it('takes signed 32-bit values as unsigned', () => {
    const vmcs = new Vmcs();
    vmcs.write32(field.CPU_BASED_VM_EXEC_CONTROL, -1);
    expect(vmcs.read32(field.CPU_BASED_VM_EXEC_CONTROL)).toBe(0xffff_ffff);
  });

  it('writes a bigint modulo 2^64', () => {
    const vmcs = new Vmcs();
    vmcs.writeBig(field.GUEST_RIP, -1n);
    expect(vmcs.readBig(field.GUEST_RIP)).toBe(2n ** 64n - 1n);
    vmcs.writeBig(field.GUEST_RIP, 2n ** 64n + 5n);
    expect(vmcs.readBig(field.GUEST_RIP)).toBe(5n);
  });

  it('reads an address up to 2^52 - 1 and asserts above', () => {
    const vmcs = new Vmcs();
    vmcs.writeBig(field.EPT_POINTER, 2n ** 52n - 1n);
    expect(vmcs.readAddress(field.EPT_POINTER)).toBe(2 ** 52 - 1);
    vmcs.writeBig(field.EPT_POINTER, 2n ** 52n);
    expect(() => vmcs.readAddress(field.EPT_POINTER)).toThrow('no address below 2^52');
    vmcs.writeBig(field.EPT_POINTER, 2n ** 64n - 1n);
    expect(() => vmcs.readAddress(field.EPT_POINTER)).toThrow('no address below 2^52');
  });

  it('copies all words and shares none', () => {
    const from = new Vmcs();
    for (const row of fieldRows) from.write64(row.word, row.encoding, ~row.encoding);
    const to = new Vmcs();
    to.copyFrom(from);
    expect(to.words).toEqual(from.words);
    from.clear();
    expect(from.words.every((word) => word === 0)).toBe(true);
    expect(to.read32(field.GUEST_RIP)).toBe(0x681e);
  });
});
