import { exitReason, field, exceptionVector as vectorOf } from '@nvmx/vmx-fields';
import { describe, expect, it } from 'vitest';
import { type Guest, layout, selectors } from './guest.ts';
import { frame, guestWithHandlers, takenVector } from './handlers.ts';

const HLT = exitReason.HLT;
const IF = 0x200;
const RF = 0x1_0000;
const VALID = 0x8000_0000;
const HARDWARE = 0x300;
const ERROR_CODE = 0x800;

describe('delivery through the IDT', () => {
  it('pushes SS, RSP, RFLAGS with RF, CS and the RIP of the faulting instruction', () => {
    const guest = guestWithHandlers();
    expect(guest.run('90 0f0b')).toBe(HLT);
    expect(takenVector(guest)).toBe(vectorOf.UD);
    expect(frame(guest, 5)).toEqual([
      BigInt(layout.code + 1),
      BigInt(selectors.code),
      BigInt(0x2 | RF),
      BigInt(layout.stack),
      BigInt(selectors.data),
    ]);
  });

  it.each([
    ['an interrupt gate clears IF', 14, 0],
    ['a trap gate leaves IF', 15, IF],
  ])('%s', (_, type, expected) => {
    const guest = guestWithHandlers();
    guest.setGate(vectorOf.UD, layout.handlers + 16 * vectorOf.UD, { type });
    guest.set(field.GUEST_RFLAGS, 2 | IF);
    expect(guest.run('0f0b')).toBe(HLT);
    expect(guest.get(field.GUEST_RFLAGS) & IF).toBe(expected);
  });

  it.each([
    ['#DE has no error code', '31c9 f7f1', vectorOf.DE, 2, undefined],
    ['#GP(0) for a non-canonical address', '48b80000000000000080 488b18', vectorOf.GP, 10, 0n],
    ['#SS(0) for a non-canonical address through RBP', '48bd0000000000000080 488b4508', vectorOf.SS, 10, 0n],
    ['#SS(0) for a push to a non-canonical address', '90 48bc0000000000000080 50', vectorOf.SS, 11, 0n],
    ['#GP(0) for the gap above the canonical range', '48b80000000000800000 488b18', vectorOf.GP, 10, 0n],
    ['#PF with W=0 P=0 for a read', 'b800000040 8b18', vectorOf.PF, 5, 0n],
    ['#PF with W=1 for a write', 'b800000040 8918', vectorOf.PF, 5, 2n],
    ['#PF with W=1 for the write of a read-modify-write', 'ff042500000040', vectorOf.PF, 0, 2n],
    ['#GP for a selector outside of the GDT', 'b880000000 8ed8', vectorOf.GP, 5, 0x80n],
    ['#GP for a null SS of the wrong RPL', 'b803000000 8ed0', vectorOf.GP, 5, 0n],
    ['#GP(0) for a MOV to CR0 with PG but without PE', '31c0 48b80000008000000000 0f22c0', vectorOf.GP, 12, 0n],
    ['#UD for an undefined opcode', '0fff c0', vectorOf.UD, 0, undefined],
    ['#UD for LOCK without memory', 'f00fc1c0', vectorOf.UD, 0, undefined],
    ['#UD for LOCK of an instruction that does not lock', 'f0890425 00000300', vectorOf.UD, 0, undefined],
    ['#UD for MOV to CS', '8ec8', vectorOf.UD, 0, undefined],
    ['#UD for CR1', '0f20c8', vectorOf.UD, 0, undefined],
    ['#UD for an instruction without 64-bit form', '06', vectorOf.UD, 0, undefined],
    ['#GP(0) for an instruction of 16 bytes', '2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e90', vectorOf.GP, 0, 0n],
  ] as const)('%s', (_, code, vector, at, errorCode) => {
    const guest = guestWithHandlers();
    if (vector === vectorOf.SS) guest.setGate(vector, layout.handlers + 16 * vector, { ist: 1 });
    guest.write64(layout.tss + 0x24, BigInt(layout.istStack));
    expect(guest.run(code)).toBe(HLT);
    expect(takenVector(guest)).toBe(vector);
    const [first, second] = frame(guest, 2);
    if (errorCode === undefined) expect(first).toBe(BigInt(layout.code + at));
    else expect([first, second]).toEqual([errorCode, BigInt(layout.code + at)]);
  });

  it('accepts an instruction of 15 bytes', () => {
    expect(guestWithHandlers().run('2e2e2e2e2e2e2e2e2e2e2e2e2e2e90 f4')).toBe(HLT);
  });

  it('#PF leaves the address in CR2', () => {
    const guest = guestWithHandlers();
    guest.run('b878563402 48c1e005 8b18');
    expect(guest.processor.cr2).toBe(0x2345678n * 32n);
  });

  it('an instruction fetch page fault sets the I bit', () => {
    const guest = guestWithHandlers();
    guest.run('b800000040 ffe0');
    expect(frame(guest, 2)).toEqual([0x10n, 0x4000_0000n]);
  });

  it('an IST entry switches the stack without a change of privilege', () => {
    const guest = guestWithHandlers();
    guest.setGate(vectorOf.UD, layout.handlers + 16 * vectorOf.UD, { ist: 3 });
    guest.write64(layout.tss + 0x24 + 16, BigInt(layout.istStack));
    guest.run('0f0b');
    expect(guest.get(field.GUEST_RSP)).toBe(layout.istStack - 40);
  });

  it('aligns the stack to 16 bytes', () => {
    const guest = guestWithHandlers();
    guest.set(field.GUEST_RSP, layout.stack - 5);
    guest.run('0f0b');
    expect(guest.get(field.GUEST_RSP)).toBe(layout.stack - 16 - 40);
    expect(frame(guest, 4)[3]).toBe(BigInt(layout.stack - 5));
  });

  it('INT3 pushes the RIP behind it, INT n likewise', () => {
    for (const [code, vector, length] of [
      ['cc', 3, 1],
      ['cd41', 0x41, 2],
    ] as const) {
      const guest = guestWithHandlers();
      guest.run(code);
      expect(takenVector(guest)).toBe(vector);
      expect(frame(guest, 1)).toEqual([BigInt(layout.code + length)]);
    }
  });

  it('leaves a push that faults undone', () => {
    const guest = guestWithHandlers();
    guest.set(field.GUEST_RSP, 0x4000_0008);
    guest.setGate(vectorOf.PF, layout.handlers + 16 * vectorOf.PF, { ist: 1 });
    guest.write64(layout.tss + 0x24, BigInt(layout.istStack));
    guest.run('50');
    expect(frame(guest, 5)[4]).toBe(0x4000_0008n);
  });
});

describe('privilege', () => {
  it('a fault in ring 3 switches to the stack of RSP0 and a null SS', () => {
    const guest = guestWithHandlers();
    guest.becomeUser();
    guest.set(field.GUEST_RSP, layout.istStack);
    expect(guest.run('0f0b')).toBe(HLT);
    expect(guest.get(field.GUEST_RSP)).toBe(layout.stack - 40);
    expect(guest.get(field.GUEST_SS_SELECTOR)).toBe(0);
    expect(guest.get(field.GUEST_CS_SELECTOR)).toBe(selectors.code);
    expect(frame(guest, 5)).toEqual([
      BigInt(layout.code),
      BigInt(selectors.userCode),
      BigInt(2 | RF),
      BigInt(layout.istStack),
      BigInt(selectors.userData),
    ]);
  });

  it.each([
    ['HLT', 'f4'],
    ['CLI', 'fa'],
    ['LGDT', '0f011425 00000300'],
    ['MOV to CR3', '0f22d8'],
    ['RDMSR', '0f32'],
    ['INVLPG', '0f013c25 00000300'],
    ['WBINVD', '0f09'],
    ['IN without permission in the TSS', 'ec'],
  ])('%s in ring 3 is #GP(0)', (_, code) => {
    const guest = guestWithHandlers();
    guest.becomeUser();
    expect(guest.run(code)).toBe(HLT);
    expect(takenVector(guest)).toBe(vectorOf.GP);
    expect(frame(guest, 1)).toEqual([0n]);
  });

  it.each([
    ['SGDT', '0f010425 00000300'],
    ['STR', '0f00c8'],
    ['SMSW', '0f01e0'],
  ])('%s in ring 3 is #GP(0) only under CR4.UMIP', (_, code) => {
    for (const [umip, vector] of [
      [0, vectorOf.UD],
      [0x800, vectorOf.GP],
    ]) {
      const guest = guestWithHandlers();
      guest.becomeUser();
      guest.set(field.GUEST_CR4, 0x2020 + umip);
      guest.run(`${code} 0f0b`);
      expect(takenVector(guest)).toBe(vector);
    }
  });

  it('INT n in ring 3 needs a gate of DPL 3', () => {
    const guest = guestWithHandlers();
    guest.becomeUser();
    guest.run('cd41');
    expect([takenVector(guest), frame(guest, 1)[0]]).toEqual([vectorOf.GP, BigInt(0x41 * 8 + 2)]);
    const open = guestWithHandlers();
    open.becomeUser();
    open.setGate(0x41, layout.handlers + 16 * 0x41, { dpl: 3 });
    open.run('cd41');
    expect(takenVector(open)).toBe(0x41);
  });

  it('IRETQ enters ring 3 and returns with the flags of the frame', () => {
    const guest = guestWithHandlers();
    guest.becomeUser();
    guest.set(field.GUEST_CS_SELECTOR, selectors.code);
    guest.set(field.GUEST_CS_AR_BYTES, 0xa09b);
    guest.set(field.GUEST_SS_SELECTOR, selectors.data);
    guest.set(field.GUEST_SS_AR_BYTES, 0xc093);
    guest.load(layout.code + 0x100, '0f0b');
    guest.run('6a1b 6800800200 6802020000 6a23 6800010100 48cf');
    expect(takenVector(guest)).toBe(vectorOf.UD);
    expect(frame(guest, 5)).toEqual([
      BigInt(layout.code + 0x100),
      BigInt(selectors.userCode),
      BigInt(2 | IF | RF),
      BigInt(layout.istStack),
      BigInt(selectors.userData),
    ]);
  });

  it('a page without U is a protection fault for ring 3', () => {
    const guest = guestWithHandlers();
    guest.becomeUser();
    guest.write32(layout.directory, guest.read32(layout.directory) | 4);
    guest.map4K(layout.data, layout.data, 3);
    for (let n = 0; n < 512; n++) {
      if (n !== layout.data / 4096) guest.write32(layout.pageTable + 8 * n, guest.read32(layout.pageTable + 8 * n) | 4);
    }
    guest.run('8b042500000300');
    expect([takenVector(guest), frame(guest, 1)[0]]).toEqual([vectorOf.PF, 5n]);
  });
});

describe('alignment checks', () => {
  const AM = 0x4_0000;
  const AC = 0x4_0000;
  const unaligned = '8b042501000300';

  it.each([
    ['AM, AC and ring 3', true, AM, AC, vectorOf.AC],
    ['ring 0', false, AM, AC, undefined],
    ['CR0.AM clear', true, 0, AC, undefined],
    ['RFLAGS.AC clear', true, AM, 0, undefined],
  ])('an unaligned load under %s', (_, user, am, ac, vector) => {
    const guest = guestWithHandlers();
    if (user) guest.becomeUser();
    guest.set(field.GUEST_CR0, 0x8001_0031 + am);
    guest.set(field.GUEST_RFLAGS, 2 | ac);
    guest.run(`${unaligned} 0f0b`);
    expect(takenVector(guest)).toBe(vector ?? vectorOf.UD);
    if (vector !== undefined) expect(frame(guest, 1)).toEqual([0n]);
  });
});

describe('faults during delivery', () => {
  const notPresent = (guest: Guest, vector: number): void => {
    guest.write32(layout.idt + 16 * vector + 4, 0);
  };

  it('a contributory exception while delivering one is a double fault with error code 0', () => {
    const guest = guestWithHandlers();
    notPresent(guest, vectorOf.GP);
    guest.run('48b80000000000000080 488b18');
    expect([takenVector(guest), frame(guest, 2)]).toEqual([vectorOf.DF, [0n, BigInt(layout.code + 10)]]);
  });

  it('a page fault while delivering a page fault is a double fault', () => {
    const guest = guestWithHandlers();
    guest.setGate(vectorOf.PF, layout.handlers, { ist: 1 });
    guest.write64(layout.tss + 0x24, 0x4000_1000n);
    guest.run('b800000040 8b18');
    expect(takenVector(guest)).toBe(vectorOf.DF);
    expect(guest.processor.cr2).toBe(0x4000_0ff8n);
  });

  it('a benign exception is followed by the fault of its delivery', () => {
    const guest = guestWithHandlers();
    notPresent(guest, vectorOf.UD);
    guest.run('0f0b');
    expect([takenVector(guest), frame(guest, 1)]).toEqual([vectorOf.GP, [BigInt(vectorOf.UD * 8 + 3)]]);
  });

  it('a software interrupt is not an external event in the error code', () => {
    const guest = guestWithHandlers();
    notPresent(guest, 0x41);
    guest.run('cd41');
    expect(frame(guest, 2)).toEqual([BigInt(0x41 * 8 + 2), BigInt(layout.code)]);
  });

  it('a fault while delivering a double fault is a triple fault exit', () => {
    const guest = guestWithHandlers();
    notPresent(guest, vectorOf.GP);
    notPresent(guest, vectorOf.DF);
    expect(guest.run('90 48b80000000000000080 488b18')).toBe(exitReason.TRIPLE_FAULT);
    expect(guest.get(field.GUEST_RIP)).toBe(layout.code + 11);
    expect(guest.get(field.IDT_VECTORING_INFO_FIELD)).toBe(0);
    expect(guest.get(field.VM_EXIT_INTR_INFO)).toBe(0);
  });
});

describe('the exception bitmap', () => {
  it('exits with vector, type and error code, RIP at the fault, RF set', () => {
    const guest = guestWithHandlers();
    guest.set(field.EXCEPTION_BITMAP, 2 ** vectorOf.GP);
    expect(guest.run('90 48b80000000000000080 488b18')).toBe(exitReason.EXCEPTION_NMI);
    expect(guest.get(field.VM_EXIT_INTR_INFO)).toBe(VALID + HARDWARE + ERROR_CODE + vectorOf.GP);
    expect(guest.get(field.VM_EXIT_INTR_ERROR_CODE)).toBe(0);
    expect(guest.get(field.GUEST_RIP)).toBe(layout.code + 11);
    expect(guest.get(field.GUEST_RFLAGS) & RF).toBe(RF);
    expect(guest.get(field.IDT_VECTORING_INFO_FIELD)).toBe(0);
  });

  it('leaves a vector without its bit to the guest', () => {
    const guest = guestWithHandlers();
    guest.set(field.EXCEPTION_BITMAP, 0xffff_ffff - 2 ** vectorOf.UD);
    expect(guest.run('0f0b')).toBe(HLT);
  });

  it('a page fault exit has the address as qualification and leaves CR2', () => {
    const guest = guestWithHandlers();
    guest.processor.setCr2(0x1234, 0);
    guest.set(field.EXCEPTION_BITMAP, 2 ** vectorOf.PF);
    expect(guest.run('b800000040 8918')).toBe(exitReason.EXCEPTION_NMI);
    expect(guest.get(field.EXIT_QUALIFICATION)).toBe(0x4000_0000);
    expect(guest.get(field.VM_EXIT_INTR_ERROR_CODE)).toBe(2);
    expect(guest.processor.cr2).toBe(0x1234n);
  });

  it.each(
    [0, 1, 2, 3].flatMap((mask) => [0, 1, 2, 3].flatMap((match) => [true, false].map((bit) => [mask, match, bit]))),
  )('a write page fault under mask %i and match %i with bit %s', (mask, match, bit) => {
    const guest = guestWithHandlers();
    guest.set(field.EXCEPTION_BITMAP, bit ? 2 ** vectorOf.PF : 0);
    guest.set(field.PAGE_FAULT_ERROR_CODE_MASK, mask as number);
    guest.set(field.PAGE_FAULT_ERROR_CODE_MATCH, match as number);
    const matches = (2 & (mask as number)) === match;
    expect(guest.run('b800000040 8918')).toBe(matches === bit ? exitReason.EXCEPTION_NMI : HLT);
  });

  it('INT3 exits as a software exception with its length; INT n does not exit', () => {
    const guest = guestWithHandlers();
    guest.set(field.EXCEPTION_BITMAP, 0xffff_ffff);
    expect(guest.run('90 cc')).toBe(exitReason.EXCEPTION_NMI);
    expect(guest.get(field.VM_EXIT_INTR_INFO)).toBe(VALID + 0x603);
    expect(guest.get(field.VM_EXIT_INSTRUCTION_LEN)).toBe(1);
    expect(guest.get(field.GUEST_RIP)).toBe(layout.code + 1);
    expect(guest.run('cd03')).toBe(HLT);
  });

  it('a fault during delivery exits with the first event as IDT-vectoring information', () => {
    const guest = guestWithHandlers();
    guest.set(field.EXCEPTION_BITMAP, 2 ** vectorOf.GP);
    guest.write32(layout.idt + 16 * 0x41 + 4, 0);
    expect(guest.run('90 cd41')).toBe(exitReason.EXCEPTION_NMI);
    expect(guest.get(field.IDT_VECTORING_INFO_FIELD)).toBe(VALID + 0x441);
    expect(guest.get(field.VM_EXIT_INSTRUCTION_LEN)).toBe(2);
    expect(guest.get(field.GUEST_RIP)).toBe(layout.code + 1);
    expect(guest.get(field.VM_EXIT_INTR_INFO)).toBe(VALID + HARDWARE + ERROR_CODE + vectorOf.GP);
  });

  it('a double fault that exits directly is no exit during event delivery: no IDT-vectoring information', () => {
    const guest = guestWithHandlers();
    guest.set(field.EXCEPTION_BITMAP, 2 ** vectorOf.DF);
    guest.write32(layout.idt + 16 * vectorOf.GP + 4, 0);
    expect(guest.run('48b80000000000000080 488b18')).toBe(exitReason.EXCEPTION_NMI);
    expect(guest.get(field.VM_EXIT_INTR_INFO)).toBe(VALID + HARDWARE + ERROR_CODE + vectorOf.DF);
    expect(guest.get(field.IDT_VECTORING_INFO_FIELD) & VALID).toBe(0);
  });
});
