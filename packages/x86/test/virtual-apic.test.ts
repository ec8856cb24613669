import { exceptionVector, exitReason, field } from '@nvmx/vmx-fields';
import { describe, expect, it } from 'vitest';
import { RAX, RCX, RDX } from '../src/index.ts';
import {
  apicGuest,
  bitOf,
  EOI,
  hex32,
  ICR,
  IRR,
  ISR,
  MSR_BITMAP,
  PPR,
  register,
  SECONDARY,
  SELF_IPI,
  setBit,
  TPR,
  takenVector,
  VAPIC,
  writeOf,
} from './apic-guest.ts';
import { Guest, layout } from './guest.ts';

const IF = 0x200;

describe('TPR shadow', () => {
  it('CR8 is bits 7:4 of VTPR', () => {
    const guest = apicGuest(0);
    guest.write32(VAPIC + TPR, 0x5f);
    guest.run('440f20c0 ba09000000 440f22c2 f4');
    expect(guest.processor.registers.low(RAX)).toBe(5);
    expect(register(guest, TPR)).toBe(0x90);
  });

  it('without it CR8 does not touch the page', () => {
    const guest = new Guest();
    guest.set(field.VIRTUAL_APIC_PAGE_ADDR, guest.hpa(VAPIC));
    guest.run('ba09000000 440f22c2 440f20c0 f4');
    expect([guest.processor.registers.low(RAX), register(guest, TPR)]).toEqual([9, 0]);
  });

  it('CR8 above 15 is #GP(0)', () => {
    const guest = apicGuest(0);
    guest.run('ba10000000 440f22c2');
    expect(takenVector(guest)).toBe(exceptionVector.GP);
  });

  it.each(Array.from({ length: 16 }, (_, n) => n))(
    'a TPR class of %i exits below the threshold, RIP behind the write',
    (value) => {
      for (const threshold of [0, value, value + 1, 15]) {
        const guest = apicGuest(0);
        guest.write32(VAPIC + TPR, 0xf0);
        guest.set(field.TPR_THRESHOLD, Math.min(threshold, 15));
        const reason = guest.run(`ba${hex32(value)} 440f22c2 f4`);
        const isBelow = value < Math.min(threshold, 15);
        expect(reason).toBe(isBelow ? exitReason.TPR_BELOW_THRESHOLD : exitReason.HLT);
        expect(guest.get(field.GUEST_RIP)).toBe(layout.code + 9);
      }
    },
  );
});

describe('virtual-interrupt delivery', () => {
  const withRequest = (vector: number, o: { readonly tpr?: number; readonly flags?: number } = {}): Guest => {
    const guest = apicGuest(SECONDARY.DELIVERY);
    setBit(guest, IRR, vector);
    guest.set(field.GUEST_INTR_STATUS, vector);
    guest.write32(VAPIC + TPR, o.tpr ?? 0);
    guest.set(field.GUEST_RFLAGS, 2 | (o.flags ?? IF));
    return guest;
  };

  it.each([16, 31, 32, 63, 0x41, 0x80, 254, 255])(
    'delivers vector %i at VM entry and takes it into service',
    (vector) => {
      const guest = withRequest(vector);
      expect(guest.run('90 90 f4')).toBe(exitReason.HLT);
      expect(takenVector(guest)).toBe(vector);
      expect(guest.get(field.GUEST_INTR_STATUS)).toBe(vector << 8);
      expect([bitOf(guest, IRR, vector), bitOf(guest, ISR, vector)]).toEqual([false, true]);
      expect(register(guest, PPR)).toBe(vector & 0xf0);
      expect(guest.read64(guest.get(field.GUEST_RSP))).toBe(BigInt(layout.code));
    },
  );

  it('the next request becomes RVI', () => {
    const guest = withRequest(0x91);
    setBit(guest, IRR, 0x35);
    setBit(guest, IRR, 0x77);
    guest.run('90');
    expect(guest.get(field.GUEST_INTR_STATUS)).toBe(0x9177);
  });

  it.each([0x40, 0x41, 0x4f, 0x50, 0xff])('TPR %i holds vector 0x45 back unless its class is lower', (tpr) => {
    const guest = withRequest(0x45, { tpr });
    expect(guest.run('90 f4')).toBe(exitReason.HLT);
    expect(bitOf(guest, ISR, 0x45)).toBe(false);
    expect(register(guest, PPR)).toBe(tpr);
    const lower = withRequest(0x45, { tpr: 0x3f });
    lower.run('90 f4');
    expect(takenVector(lower)).toBe(0x45);
  });

  it('waits for IF and for the end of the STI shadow', () => {
    const guest = withRequest(0x45, { flags: 0 });
    guest.run('90 fb 90 90 f4');
    expect(guest.read64(guest.get(field.GUEST_RSP))).toBe(BigInt(layout.code + 3));
  });

  it('lowering TPR delivers', () => {
    const guest = withRequest(0x45, { tpr: 0x50 });
    guest.run('31d2 440f22c2 90 f4');
    expect(guest.read64(guest.get(field.GUEST_RSP))).toBe(BigInt(layout.code + 6));
  });

  it('interrupt-window exiting takes precedence', () => {
    const guest = withRequest(0x45);
    guest.enable(field.CPU_BASED_VM_EXEC_CONTROL, 4);
    expect(guest.run('90')).toBe(exitReason.INTERRUPT_WINDOW);
    expect(guest.get(field.GUEST_INTR_STATUS)).toBe(0x45);
  });

  it('wakes a guest that halts', () => {
    const guest = withRequest(0x45);
    guest.set(field.GUEST_ACTIVITY_STATE, 1);
    guest.run('90');
    expect(takenVector(guest)).toBe(0x45);
  });

  it.each([false, true])('EOI ends the vector in service; with its EOI-exit bit %s', (exits) => {
    const guest = apicGuest(SECONDARY.DELIVERY | SECONDARY.APIC_ACCESSES);
    setBit(guest, ISR, 0x91);
    setBit(guest, ISR, 0x35);
    guest.set(field.GUEST_INTR_STATUS, 0x9100);
    if (exits) guest.set(field.EOI_EXIT_BITMAP2, 1n << 0x11n);
    const reason = guest.run(`${writeOf(EOI)} f4`);
    expect(reason).toBe(exits ? exitReason.EOI_INDUCED : exitReason.HLT);
    if (exits) expect(guest.get(field.EXIT_QUALIFICATION)).toBe(0x91);
    expect(guest.get(field.GUEST_INTR_STATUS)).toBe(0x3500);
    expect(bitOf(guest, ISR, 0x91)).toBe(false);
    expect(register(guest, PPR)).toBe(0x30);
    expect(guest.get(field.GUEST_RIP)).toBe(layout.code + 7);
  });

  it('EOI lets a lower request in', () => {
    const guest = apicGuest(SECONDARY.DELIVERY | SECONDARY.APIC_ACCESSES);
    setBit(guest, ISR, 0x91);
    setBit(guest, IRR, 0x45);
    guest.set(field.GUEST_INTR_STATUS, 0x9145);
    guest.set(field.GUEST_RFLAGS, 2 | IF);
    guest.run(`${writeOf(EOI)} f4`);
    expect(takenVector(guest)).toBe(0x45);
  });

  it.each([
    ['fixed, to self', 0x4_0045, true],
    ['a vector below 16', 0x4_0005, false],
    ['level-triggered', 0x4_8045, false],
    ['another delivery mode', 0x4_0445, false],
    ['all including self', 0x8_0045, false],
    ['no shorthand', 0x45, false],
    ['a reserved bit', 0x14_0045, false],
  ])('a write to ICR that is %s', (_, icr, isSelf) => {
    const guest = apicGuest(SECONDARY.DELIVERY | SECONDARY.APIC_ACCESSES);
    guest.set(field.GUEST_RFLAGS, 2 | IF);
    const reason = guest.run(`b8${hex32(icr)} ${writeOf(ICR)} f4`);
    expect(reason).toBe(isSelf ? exitReason.HLT : exitReason.APIC_WRITE);
    if (isSelf) expect(takenVector(guest)).toBe(0x45);
    expect(register(guest, ICR)).toBe(icr);
  });
});

describe('x2APIC mode', () => {
  const access = (guest: Guest, index: number, value: bigint, code: string): number => {
    const { registers } = guest.processor;
    registers.set(RCX, index, 0);
    registers.set(RAX, Number(value & 0xffff_ffffn), 0);
    registers.set(RDX, Number(value >> 32n), 0);
    return guest.run(`${code} f4`);
  };
  const RDMSR = '0f32';
  const WRMSR = '0f30';

  it('TPR is read and written in the page; without the control it faults', () => {
    const guest = apicGuest(SECONDARY.X2APIC);
    expect(access(guest, 0x808, 0x30n, WRMSR)).toBe(exitReason.HLT);
    expect(register(guest, TPR)).toBe(0x30);
    access(guest, 0x808, 0n, RDMSR);
    expect(guest.processor.registers.low(RAX)).toBe(0x30);
    const without = apicGuest(0);
    access(without, 0x808, 0x30n, WRMSR);
    expect(takenVector(without)).toBe(exceptionVector.GP);
  });

  it('the MSR bitmap comes first', () => {
    const guest = apicGuest(SECONDARY.X2APIC);
    guest.memory.u8[guest.hpa(MSR_BITMAP) + (0x808 >> 3)] = 1;
    expect(access(guest, 0x808, 0n, RDMSR)).toBe(exitReason.MSR_READ);
  });

  it.each([0x802, 0x803, 0x80a, 0x810, 0x820, 0x830, 0x83e])(
    'register virtualization reads MSR %i from the page',
    (index) => {
      const guest = apicGuest(SECONDARY.X2APIC | SECONDARY.REGISTERS);
      guest.write32(VAPIC + ((index & 0xff) << 4), 0x1234_5678);
      guest.write32(VAPIC + ((index & 0xff) << 4) + 4, 0x9abc);
      expect(access(guest, index, 0n, RDMSR)).toBe(exitReason.HLT);
      expect(guest.processor.registers.low(RAX)).toBe(0x1234_5678);
      expect(guest.processor.registers.low(RDX)).toBe(0x9abc);
      const without = apicGuest(SECONDARY.X2APIC);
      access(without, index, 0n, RDMSR);
      expect(takenVector(without)).toBe(exceptionVector.GP);
    },
  );

  it('self-IPI requests its vector', () => {
    const guest = apicGuest(SECONDARY.X2APIC | SECONDARY.DELIVERY);
    expect(access(guest, 0x83f, 0x45n, WRMSR)).toBe(exitReason.HLT);
    expect(guest.get(field.GUEST_INTR_STATUS)).toBe(0x45);
    expect(bitOf(guest, IRR, 0x45)).toBe(true);
    expect(register(guest, SELF_IPI)).toBe(0x45);
  });

  it.each([
    ['TPR with bit 8', 0x808, 0x100n],
    ['TPR with bit 32', 0x808, 0x1_0000_0000n],
    ['EOI that is not 0', 0x80b, 1n],
    ['self-IPI with bit 8', 0x83f, 0x145n],
    ['a register that is not virtualized', 0x80f, 1n],
  ])('%s is #GP(0)', (_, index, value) => {
    const guest = apicGuest(SECONDARY.X2APIC | SECONDARY.DELIVERY);
    access(guest, index, value, WRMSR);
    expect(takenVector(guest)).toBe(exceptionVector.GP);
  });

  it('EOI is virtualized', () => {
    const guest = apicGuest(SECONDARY.X2APIC | SECONDARY.DELIVERY);
    setBit(guest, ISR, 0x45);
    guest.set(field.GUEST_INTR_STATUS, 0x4500);
    access(guest, 0x80b, 0n, WRMSR);
    expect(guest.get(field.GUEST_INTR_STATUS)).toBe(0);
  });
});
