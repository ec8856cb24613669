import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  decodeVmcs12,
  encodeVmcs12,
  field,
  fieldBits,
  fieldRows,
  VMCS12_BYTES,
  VMCS12_REVISION,
  VMCS12_USED_BYTES,
  Vmcs,
  vmcs12Layout,
} from '../src/index.ts';
import { readTable } from './tables.ts';

const held = fieldRows.filter((row) => row.vmcs12Offset !== undefined);
const page = fc.uint8Array({ minLength: VMCS12_BYTES, maxLength: VMCS12_BYTES });
const seed = { seed: 0x6e766d78, numRuns: 30 };

describe('vmcs12Layout', () => {
  it('uses 998 of 4096 bytes, with no gap and no overlap', () => {
    let end = 0;
    for (const member of Object.values(vmcs12Layout)) {
      expect(member.offset).toBe(end);
      end += member.bytes;
    }
    expect([VMCS12_USED_BYTES, end]).toEqual([998, VMCS12_BYTES]);
  });

  it('gives every field of vmcs12 a member of its width', () => {
    const members = new Map(Object.values(vmcs12Layout).map((member) => [member.offset, member.bytes]));
    for (const row of held) expect(members.get(row.vmcs12Offset!), row.name).toBe(fieldBits(row.width) / 8);
  });

  it('holds the fields that the layout table names and no other', () => {
    const named = readTable('vmcs12_layout').filter((row) => row.encoding_name !== '-');
    expect(new Set(held.map((row) => row.name))).toEqual(new Set(named.map((row) => row.encoding_name)));
  });
});

describe('decodeVmcs12 and encodeVmcs12', () => {
  it('change no byte of any page when one follows the other', () => {
    fc.assert(
      fc.property(page, (bytes) => {
        const vmcs = new Vmcs();
        const after = bytes.slice();
        encodeVmcs12(vmcs, decodeVmcs12(bytes, vmcs), after);
        expect(after).toEqual(bytes);
      }),
      seed,
    );
  });

  it('keep each field apart: only its own bytes change', () => {
    for (const row of held) {
      const bytes = new Uint8Array(VMCS12_BYTES);
      const vmcs = new Vmcs();
      vmcs.writeField({ row, high: false }, 0xffff_ffff_ffff_ffffn);
      encodeVmcs12(vmcs, { revision: 0, shadow: false, abort: 0, launchState: 0 }, bytes);
      const last = row.vmcs12Offset! + fieldBits(row.width) / 8 - 1;
      const changed = [...bytes.keys()].filter((offset) => bytes[offset] !== 0);
      expect([changed[0], changed.at(-1)], row.name).toEqual([row.vmcs12Offset, last]);
      const read = new Vmcs();
      decodeVmcs12(bytes, read);
      expect(read.words, row.name).toEqual(vmcs.words);
    }
  });

  it('read fields little-endian', () => {
    const bytes = new Uint8Array(VMCS12_BYTES);
    bytes.set([0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11], vmcs12Layout.guest_rip.offset);
    const vmcs = new Vmcs();
    decodeVmcs12(bytes, vmcs);
    expect(vmcs.readBig(field.GUEST_RIP)).toBe(0x1122_3344_5566_7788n);
  });

  it('read and write the header: revision, shadow bit, abort, launch state', () => {
    const header = { revision: VMCS12_REVISION, shadow: true, abort: 4, launchState: 1 };
    const bytes = new Uint8Array(VMCS12_BYTES);
    encodeVmcs12(new Vmcs(), header, bytes);
    expect([...bytes.subarray(0, 12)]).toEqual([0xd0, 0x7e, 0xe5, 0x91, 4, 0, 0, 0, 1, 0, 0, 0]);
    expect(decodeVmcs12(bytes, new Vmcs())).toEqual(header);
  });

  it('read an unsigned header', () => {
    const header = { revision: 0x7fff_ffff, shadow: true, abort: 0xffff_ffff, launchState: 0xffff_ffff };
    expect(decodeVmcs12(new Uint8Array(VMCS12_BYTES).fill(0xff), new Vmcs())).toEqual(header);
  });

  it('leave fields that vmcs12 does not hold', () => {
    const vmcs = new Vmcs();
    vmcs.writeBig(field.CR3_TARGET_VALUE0, 7n);
    decodeVmcs12(new Uint8Array(VMCS12_BYTES), vmcs);
    expect(vmcs.readBig(field.CR3_TARGET_VALUE0)).toBe(7n);
  });

  it('work with exactly 998 bytes, shared or not, and assert with 997', () => {
    for (const buffer of [new ArrayBuffer(998), new SharedArrayBuffer(998)]) {
      const bytes = new Uint8Array(buffer);
      const vmcs = new Vmcs();
      vmcs.write32(field.GUEST_PML_INDEX, 511);
      encodeVmcs12(vmcs, { revision: 1, shadow: false, abort: 0, launchState: 0 }, bytes);
      const read = new Vmcs();
      decodeVmcs12(bytes, read);
      expect(read.read32(field.GUEST_PML_INDEX)).toBe(511);
    }
    const short = new Uint8Array(997);
    expect(() => decodeVmcs12(short, new Vmcs())).toThrow('998 bytes, not 997');
    const header = { revision: 1, shadow: false, abort: 0, launchState: 0 };
    expect(() => encodeVmcs12(new Vmcs(), header, short)).toThrow('998 bytes, not 997');
  });
});
