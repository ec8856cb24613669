import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  decodeEvmcs,
  decodeEvmcsHeader,
  EVMCS_BYTES,
  EVMCS_REVISION,
  encodeEvmcs,
  evmcsCleanFields,
  evmcsCleanMask,
  evmcsEnlightenments,
  evmcsLayout,
  type FieldRow,
  field,
  fieldBits,
  fieldRows,
  Vmcs,
} from '../src/index.ts';
import { readTable } from './tables.ts';

const held = fieldRows.filter((row) => row.evmcsOffset !== undefined);
const table = readTable('evmcs_layout').filter((row) => row.encoding_name !== '-');
const byName = new Map(table.map((row) => [row.encoding_name, row]));
const filled = new Uint8Array(EVMCS_BYTES).fill(0xff);
const seed = { seed: 0x6e766d78, numRuns: 60 };

describe('evmcsLayout', () => {
  it('fills 1024 bytes with no gap and no overlap', () => {
    let end = 0;
    for (const member of Object.values(evmcsLayout)) {
      expect(member.offset).toBe(end);
      end += member.bytes;
    }
    expect(end).toBe(EVMCS_BYTES);
  });

  it('gives every mapped field a member of its width', () => {
    const members = new Map(Object.values(evmcsLayout).map((member) => [member.offset, member.bytes]));
    for (const row of held) expect(members.get(row.evmcsOffset!), row.name).toBe(fieldBits(row.width) / 8);
  });
});

describe('decodeEvmcs', () => {
  it('copies exactly the fields of the groups that are not clean', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0xffff }), (cleanFields) => {
        const vmcs = new Vmcs();
        decodeEvmcs(filled, vmcs, { cleanFields });
        for (const row of held) {
          const copied = isCopiedIn(row, cleanFields);
          expect(vmcs.readBig(row.word), row.name).toBe(copied ? allOnes(row) : 0n);
        }
      }),
      seed,
    );
  });

  it('copies TPR_THRESHOLD and GUEST_RIP even when everything is clean, and nothing else', () => {
    const vmcs = new Vmcs();
    decodeEvmcs(filled, vmcs, { cleanFields: 0xffff });
    const copied = fieldRows.filter((row) => vmcs.readBig(row.word) !== 0n).map((row) => row.name);
    expect(copied).toEqual(['TPR_THRESHOLD', 'GUEST_RIP']);
  });

  it('never copies exit information, which L0 owns', () => {
    const vmcs = new Vmcs();
    decodeEvmcs(filled, vmcs, { cleanFields: 0 });
    for (const row of held.filter((each) => each.readOnly)) expect(vmcs.readBig(row.word), row.name).toBe(0n);
  });

  it('asserts 1024 bytes', () => {
    const short = new Uint8Array(1023);
    expect(() => decodeEvmcs(short, new Vmcs(), { cleanFields: 0 })).toThrow('1024 bytes, not 1023');
    expect(() => encodeEvmcs(new Vmcs(), short)).toThrow('1024 bytes, not 1023');
    expect(() => decodeEvmcsHeader(short)).toThrow('1024 bytes, not 1023');
  });
});

describe('encodeEvmcs', () => {
  it('writes exactly the fields that the table says are copied out', () => {
    const vmcs = new Vmcs();
    for (const row of fieldRows) vmcs.writeField({ row, high: false }, 0xffff_ffff_ffff_ffffn);
    const bytes = new Uint8Array(EVMCS_BYTES);
    encodeEvmcs(vmcs, bytes);
    const expected = new Uint8Array(EVMCS_BYTES);
    for (const row of table.filter((each) => each.copied_out_on_exit === 'yes')) {
      expected.fill(0xff, Number(row.offset), Number(row.offset) + Number(row.size));
    }
    expect(bytes).toEqual(expected);
  });

  it('gives decodeEvmcs back what both copy', () => {
    fc.assert(
      fc.property(fc.constantFrom(...held), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (row, value) => {
        const stated = byName.get(row.name)!;
        const from = new Vmcs();
        from.writeField({ row, high: false }, value);
        const bytes = new Uint8Array(EVMCS_BYTES);
        encodeEvmcs(from, bytes);
        const to = new Vmcs();
        decodeEvmcs(bytes, to, { cleanFields: 0 });
        const both = stated.copied_out_on_exit === 'yes' && stated.copied_into_vmcs12_on_entry !== 'never';
        expect(to.readBig(row.word)).toBe(both ? from.readBig(row.word) : 0n);
      }),
      seed,
    );
  });
});

describe('clean-field groups', () => {
  it('list the same fields as the layout table', () => {
    for (const group of readTable('evmcs_clean_fields')) {
      const stated =
        group['fields_mapped_to_group(vmcs_field_to_evmcs_1)']?.split(',').filter((name) => name !== '') ?? [];
      const mapped = table.filter((row) => row['clean_field_group(VMREAD/VMWRITE map)'] === group.name);
      expect(new Set(mapped.map((row) => row.field)), group.name).toEqual(new Set(stated));
    }
  });

  it('have one bit each, except ALL and NONE', () => {
    expect([evmcsCleanFields.ALL, evmcsCleanFields.NONE]).toEqual([0xffff, 0]);
    const { ALL, NONE, ...groups } = evmcsCleanFields;
    expect(Object.values(groups).reduce((all, mask) => all + mask, 0)).toBe(ALL + NONE);
    expect(evmcsCleanMask('GUEST_GRP2')).toBe(0x1000);
    expect(() => evmcsCleanMask('GUEST_GRP3')).toThrow('no clean-field group is called GUEST_GRP3');
  });
});

describe('decodeEvmcsHeader', () => {
  it('reads revision, clean fields, enlightenments and VP id at their offsets', () => {
    const bytes = new Uint8Array(EVMCS_BYTES);
    bytes[0] = 1;
    bytes.set([0xff, 0xff], 824);
    bytes[836] = 2;
    bytes[840] = 7;
    const header = { revision: 1, cleanFields: 0xffff, enlightenmentsControl: 2, vpId: 7 };
    expect(decodeEvmcsHeader(bytes)).toEqual(header);
  });

  it('reads unsigned values', () => {
    const ones = 0xffff_ffff;
    const header = { revision: ones, cleanFields: ones, enlightenmentsControl: ones, vpId: ones };
    expect(decodeEvmcsHeader(filled)).toEqual(header);
  });

  it('has the revision of version 1, and enlightenments in bits 0 and 1', () => {
    expect(EVMCS_REVISION).toBe(1);
    expect(evmcsEnlightenments).toEqual({ NESTED_FLUSH_HYPERCALL: 1, MSR_BITMAP: 2 });
  });
});

function isCopiedIn(row: FieldRow, cleanFields: number): boolean {
  const rule = byName.get(row.name)!.copied_into_vmcs12_on_entry!;
  if (rule === 'never') return false;
  return rule === 'always' || (cleanFields & evmcsCleanMask(rule.replace('if !clean.', ''))) === 0;
}

function allOnes(row: FieldRow): bigint {
  return 2n ** BigInt(fieldBits(row.width)) - 1n;
}

describe('a field without a place in the enlightened VMCS', () => {
  it('is untouched both ways', () => {
    const vmcs = new Vmcs();
    vmcs.writeBig(field.APIC_ACCESS_ADDR, 0x1000n);
    decodeEvmcs(filled, vmcs, { cleanFields: 0 });
    expect(vmcs.readBig(field.APIC_ACCESS_ADDR)).toBe(0x1000n);
  });
});
