import type { ResetState } from '@nvmx/nested-vmx';
import { accessRights, cr0, cr4, efer } from '@nvmx/vmx-fields';
import { bootArea, bootGdt } from './boot-area.ts';

const RDI = 7;
const SEGMENT_LIMIT = 0xffff_ffff;
const TSS_LIMIT = 0x67;

/** Values of the TYPE field of access rights: execute and read, accessed; read and write, accessed; busy TSS; LDT. */
const type = { CODE: 0xb, DATA: 3, BUSY_TSS: 0xb } as const;
const { S, P, L, DB, G, UNUSABLE } = accessRights;

/** The state in which an image is entered: 64-bit mode on the boot area's tables, interrupts off, RDI at the boot info. */
export function initialState(o: { entry: number }): ResetState {
  const data = { selector: bootGdt.data, limit: SEGMENT_LIMIT, rights: type.DATA | S | P | DB | G };
  return {
    fields: {
      GUEST_CR0: (cr0.PE | cr0.ET | cr0.NE | cr0.WP | cr0.PG) >>> 0,
      GUEST_CR3: bootArea.pml4,
      GUEST_CR4: cr4.PAE,
      GUEST_IA32_EFER: efer.LME | efer.LMA,
      GUEST_RIP: o.entry,
      GUEST_RSP: 0,
      GUEST_GDTR_BASE: bootArea.gdt,
      GUEST_GDTR_LIMIT: bootGdt.limit,
      ...segment('CS', { selector: bootGdt.code, limit: SEGMENT_LIMIT, rights: type.CODE | S | P | L | G }),
      ...segment('DS', data),
      ...segment('ES', data),
      ...segment('SS', data),
      ...segment('FS', { selector: 0, limit: 0, rights: UNUSABLE }),
      ...segment('GS', { selector: 0, limit: 0, rights: UNUSABLE }),
      ...segment('LDTR', { selector: 0, limit: 0, rights: UNUSABLE }),
      ...segment('TR', { selector: 0, limit: TSS_LIMIT, rights: type.BUSY_TSS | P }),
    },
    registers: { [RDI]: bootArea.info },
  };
}

type SegmentName = 'CS' | 'DS' | 'ES' | 'SS' | 'FS' | 'GS' | 'LDTR' | 'TR';

/** The guest-state fields of one segment register with base 0. */
function segment(name: SegmentName, o: { selector: number; limit: number; rights: number }): ResetState['fields'] {
  return {
    [`GUEST_${name}_SELECTOR`]: o.selector,
    [`GUEST_${name}_BASE`]: 0,
    [`GUEST_${name}_LIMIT`]: o.limit,
    [`GUEST_${name}_AR_BYTES`]: o.rights,
  };
}
