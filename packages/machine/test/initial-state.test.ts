import { describe, expect, it } from 'vitest';
import { bootArea, initialState } from '../src/index.ts';

const { fields, registers } = initialState({ entry: 0x12_3456 });

describe('initialState', () => {
  it('enters 64-bit mode with paging on and interrupts off', () => {
    expect(fields).toMatchObject({
      GUEST_CR0: 0x8001_0031,
      GUEST_CR3: bootArea.pml4,
      GUEST_CR4: 0x20,
      GUEST_IA32_EFER: 0x500,
      GUEST_RIP: 0x12_3456,
      GUEST_RSP: 0,
    });
    expect(fields.GUEST_RFLAGS ?? 0).toBe(0);
  });

  it('has flat segments: 64-bit code 0x10, data 0x18 in DS, ES and SS', () => {
    const flat = { base: 0, limit: 0xffff_ffff };
    expect(segment('CS')).toEqual({ selector: 0x10, rights: 0xa09b, ...flat });
    for (const name of ['DS', 'ES', 'SS']) {
      expect(segment(name), name).toEqual({ selector: 0x18, rights: 0xc093, ...flat });
    }
  });

  it('has no FS, GS and LDT, and a task register that VM entry takes', () => {
    for (const name of ['FS', 'GS', 'LDTR']) {
      expect(segment(name), name).toEqual({ selector: 0, base: 0, limit: 0, rights: 0x1_0000 });
    }
    expect(segment('TR')).toEqual({ selector: 0, base: 0, limit: 0x67, rights: 0x8b });
  });

  it('points RDI at the boot info and GDTR at the boot GDT', () => {
    expect(registers).toEqual({ 7: 0x9000 });
    expect([fields.GUEST_GDTR_BASE, fields.GUEST_GDTR_LIMIT]).toEqual([0x1000, 0x1f]);
  });

  it('holds no negative value: fields are 64-bit', () => {
    for (const [name, value] of Object.entries(fields)) expect(value >= 0, name).toBe(true);
  });
});

function segment(name: string): Record<string, unknown> {
  const of = (part: string): unknown => (fields as Record<string, unknown>)[`GUEST_${name}_${part}`];
  return { selector: of('SELECTOR'), base: of('BASE'), limit: of('LIMIT'), rights: of('AR_BYTES') };
}
