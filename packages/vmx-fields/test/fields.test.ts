import { describe, expect, it } from 'vitest';
import { field, fieldBits, fieldByEncoding, fieldRows, parseEncoding } from '../src/index.ts';
import { readTable } from './tables.ts';

const table = readTable('vmcs_encodings');
const full = table.filter((row) => row.access === 'full');
const high = table.filter((row) => row.access === 'high');

describe('fieldRows', () => {
  it('hold one row for each full encoding of the table, in its order', () => {
    expect(fieldRows.map((row) => [row.name, row.encoding])).toEqual(
      full.map((row) => [row.name, Number(row.encoding)]),
    );
  });

  it('derive from the encoding what the table states beside it', () => {
    const typeNames = { 'read-only data (exit info)': 'exit info' } as Record<string, string>;
    for (const [ordinal, row] of fieldRows.entries()) {
      const stated = full[ordinal]!;
      expect(
        { width: row.width, type: row.type, index: row.index, readOnly: row.readOnly, rare: row.rare },
        row.name,
      ).toEqual({
        width: stated.width!.replace('(u64)', ''),
        type: typeNames[stated.type!] ?? stated.type,
        index: Number(stated.index),
        readOnly: stated.readonly_unless_vmwrite_any === 'yes',
        rare: stated['rare_lazy_sync_field(is_vmcs12_ext_field)'] === 'yes',
      });
    }
  });

  it('keep optional places absent where the table has a dash', () => {
    for (const [ordinal, row] of fieldRows.entries()) {
      const stated = full[ordinal]!;
      expect(row.vmcs12Offset, row.name).toBe(optional(stated.vmcs12_offset!));
      expect(row.evmcsOffset, row.name).toBe(optional(stated.evmcs_offset!));
      expect(row.evmcsCleanGroup ?? '-', row.name).toBe(stated.evmcs_clean_field);
      expect(row.shadow ?? '-', row.name).toBe(stated['shadow_vmcs(RO/RW)']);
    }
  });

  it('give each field two words of its own', () => {
    expect(fieldRows.map((row) => row.word)).toEqual(fieldRows.map((_, ordinal) => ordinal * 2));
    for (const row of fieldRows) expect(field[row.name]).toBe(row.word);
    expect(Object.keys(field)).toHaveLength(fieldRows.length);
  });
});

describe('parseEncoding', () => {
  it('finds access type, index, type and width in bits 0, 9:1, 11:10 and 14:13', () => {
    expect(parseEncoding(0x2001)).toEqual({ width: 'u64', type: 'control', index: 0, high: true });
    expect(parseEncoding(0x0810)).toEqual({ width: 'u16', type: 'guest state', index: 8, high: false });
    expect(parseEncoding(0x4402)).toEqual({ width: 'u32', type: 'exit info', index: 1, high: false });
    expect(parseEncoding(0x6c16)).toEqual({ width: 'natural', type: 'host state', index: 11, high: false });
  });

  it('agrees with the 16-bit rotation by 6 that the table states', () => {
    for (const row of table) {
      const encoding = Number(row.encoding);
      expect(((encoding << 6) | (encoding >> 10)) & 0xffff).toBe(Number(row.rol16_6_table_index));
    }
  });
});

describe('fieldByEncoding', () => {
  it('finds each full encoding', () => {
    for (const row of fieldRows) expect(fieldByEncoding(row.encoding)).toEqual({ row, high: false });
  });

  it('finds the high half of each 64-bit field under the odd encoding', () => {
    for (const stated of high) {
      const access = fieldByEncoding(Number(stated.encoding));
      expect(access?.high).toBe(true);
      expect(`${access?.row.name}_HIGH`).toBe(stated.name);
    }
    expect(high).toHaveLength(fieldRows.filter((row) => row.width === 'u64').length);
  });

  it('finds nothing under any other 16-bit number', () => {
    const known = new Set(table.map((row) => Number(row.encoding)));
    for (let encoding = 0; encoding < 0x10000; encoding += 1) {
      if (!known.has(encoding)) expect(fieldByEncoding(encoding)).toBeUndefined();
    }
  });

  it('finds nothing under an encoding with bits above 15, a negative number or a fraction', () => {
    for (const encoding of [0x1_681e, 0x8000_681e, -1, 0x681e + 0.5, Number.NaN]) {
      expect(fieldByEncoding(encoding)).toBeUndefined();
    }
  });

  it('gives the same object twice', () => {
    expect(fieldByEncoding(0x681e)).toBe(fieldByEncoding(0x681e));
  });
});

describe('fieldBits', () => {
  it('is the width, and 64 for natural width', () => {
    expect((['u16', 'u32', 'u64', 'natural'] as const).map(fieldBits)).toEqual([16, 32, 64, 64]);
  });
});

describe('shadow VMCS', () => {
  it('covers the fields of KVM and their number', () => {
    const count = (kind: string) => fieldRows.filter((row) => row.shadow === kind).length;
    expect([count('RO'), count('RW')]).toEqual([11, 24]);
  });
});

function optional(cell: string): number | undefined {
  return cell === '-' ? undefined : Number(cell);
}
