import { exceptionVector, exitReason, field } from '@nvmx/vmx-fields';
import { describe, expect, it } from 'vitest';
import { RAX, RCX, RDX } from '../src/index.ts';
import { Guest, type GuestOptions, layout } from './guest.ts';

const IF = 0x200;
const VAPIC = 0x4_0000;
const APIC_PAGE = 0x5_0000;
const DESCRIPTOR = 0x6_0000;
const TPR_SHADOW = 0x20_0000;
const MSR_BITMAPS = 0x1000_0000;
const POSTED_INTERRUPTS = 0x80;
const NOTIFICATION = 0xf2;
const SECONDARY = { APIC_ACCESSES: 1, X2APIC: 0x10, REGISTERS: 0x100, DELIVERY: 0x200 } as const;
const [TPR, PPR, EOI, ISR, IRR, ICR, SELF_IPI] = [0x80, 0xa0, 0xb0, 0x100, 0x200, 0x300, 0x3f0];

const hex32 = (value: number): string =>
  [0, 8, 16, 24].map((shift) => ((value >>> shift) & 0xff).toString(16).padStart(2, '0')).join('');

/** A guest with a virtual-APIC page and, at guest-physical 0x50000, the APIC-access page; handlers halt with CL = vector. */
function apicGuest(secondary: number, o: GuestOptions = {}): Guest {
  const guest = new Guest(o);
  guest.enable(field.CPU_BASED_VM_EXEC_CONTROL, TPR_SHADOW | MSR_BITMAPS);
  guest.enable(field.SECONDARY_VM_EXEC_CONTROL, secondary);
  guest.set(field.VIRTUAL_APIC_PAGE_ADDR, guest.hpa(VAPIC));
  guest.set(field.APIC_ACCESS_ADDR, guest.hpa(APIC_PAGE));
  guest.set(field.MSR_BITMAP, guest.hpa(0x7_0000));
  for (let vector = 0; vector < 256; vector++) {
    const at = layout.handlers + 16 * vector;
    guest.load(at, `b1${vector.toString(16).padStart(2, '0')}f4`);
    guest.setGate(vector, at);
  }
  return guest;
}

const readOf = (offset: number): string => `8b0425${hex32(APIC_PAGE + offset)}`;
const writeOf = (offset: number): string => `890425${hex32(APIC_PAGE + offset)}`;
const register = (guest: Guest, offset: number): number => guest.read32(VAPIC + offset);
const bitOf = (guest: Guest, registers: number, vector: number): boolean =>
  ((register(guest, registers + (vector >> 5) * 16) >>> (vector & 31)) & 1) === 1;
const setBit = (guest: Guest, registers: number, vector: number): void => {
  const at = VAPIC + registers + (vector >> 5) * 16;
  guest.write32(at, (guest.read32(at) | (1 << (vector & 31))) >>> 0);
};
const takenVector = (guest: Guest): number => guest.processor.registers.low(RCX) & 0xff;

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

describe('APIC-access page', () => {
  it('reads and writes exit with offset and type, not virtualized without TPR shadow', () => {
    const guest = new Guest();
    guest.enable(field.SECONDARY_VM_EXEC_CONTROL, SECONDARY.APIC_ACCESSES);
    guest.set(field.APIC_ACCESS_ADDR, guest.hpa(APIC_PAGE));
    for (const [code, qualification] of [
      [readOf(0x80), 0x0080],
      [writeOf(0x80), 0x1080],
      [`ff0425${hex32(APIC_PAGE + 0x123)}`, 0x1123],
    ] as const) {
      expect(guest.run(`90 ${code}`)).toBe(exitReason.APIC_ACCESS);
      expect(guest.get(field.EXIT_QUALIFICATION)).toBe(qualification);
      expect(guest.get(field.GUEST_RIP)).toBe(layout.code + 1);
      expect(guest.get(field.VM_EXIT_INSTRUCTION_LEN)).toBe(7);
    }
  });

  it('a fetch exits as a fetch', () => {
    const guest = apicGuest(SECONDARY.APIC_ACCESSES);
    expect(guest.run(`b8${hex32(APIC_PAGE + 0x40)} ffe0`)).toBe(exitReason.APIC_ACCESS);
    expect(guest.get(field.EXIT_QUALIFICATION)).toBe(0x2040);
  });

  it('a push of an event delivery exits as such, with IDT-vectoring information', () => {
    const guest = apicGuest(SECONDARY.APIC_ACCESSES);
    guest.set(field.GUEST_RSP, APIC_PAGE + 0x100);
    expect(guest.run('cd41')).toBe(exitReason.APIC_ACCESS);
    expect(guest.get(field.EXIT_QUALIFICATION)).toBe(0x30f8);
    expect(guest.get(field.IDT_VECTORING_INFO_FIELD)).toBe(0x8000_0441);
    expect(guest.get(field.GUEST_RSP)).toBe(APIC_PAGE + 0x100);
  });

  it('a paging structure in the page exits as a guest-physical access', () => {
    const guest = apicGuest(SECONDARY.APIC_ACCESSES);
    guest.set(field.APIC_ACCESS_ADDR, guest.hpa(layout.pdpt));
    expect(guest.run('90')).toBe(exitReason.APIC_ACCESS);
    expect(guest.get(field.EXIT_QUALIFICATION)).toBe(0xf000);
  });

  it('compares host-physical pages: another guest page over the same frame exits, the same guest page over another frame does not', () => {
    const guest = apicGuest(SECONDARY.APIC_ACCESSES);
    guest.mapEpt(layout.data, guest.hpa(APIC_PAGE), 0x37);
    expect(guest.run('8b0425 44000300 f4')).toBe(exitReason.APIC_ACCESS);
    guest.set(field.APIC_ACCESS_ADDR, guest.hpa(0x9_0000));
    expect(guest.run(`${readOf(0x44)} f4`)).toBe(exitReason.HLT);
  });

  it('without the control the page is plain memory', () => {
    const guest = apicGuest(0);
    expect(guest.run(`b807000000 ${writeOf(0x44)} f4`)).toBe(exitReason.HLT);
    expect(guest.read32(APIC_PAGE + 0x44)).toBe(7);
  });

  /** Offsets of the manual: "Virtualizing Reads from the APIC-Access Page", "Virtualizing Writes to the APIC-Access Page". */
  const registerReads = [
    0x20,
    0x30,
    0x80,
    0xb0,
    0xd0,
    0xe0,
    0xf0,
    0x280,
    0x300,
    0x310,
    0x320,
    0x330,
    0x340,
    0x350,
    0x360,
    0x370,
    0x380,
    0x3e0,
    ...Array.from({ length: 24 }, (_, n) => 0x100 + 16 * n),
  ];
  const registerWrites = [
    0x20, 0x80, 0xb0, 0xd0, 0xe0, 0xf0, 0x280, 0x300, 0x310, 0x320, 0x330, 0x340, 0x350, 0x360, 0x370, 0x380, 0x3e0,
  ];
  const combinations = [
    ['TPR shadow alone', 0, [0x80], [0x80]],
    ['interrupt delivery', SECONDARY.DELIVERY, [0x80, 0xb0, 0x300], [0x80, 0xb0, 0x300]],
    ['register virtualization', SECONDARY.REGISTERS, registerReads, registerWrites],
  ] as const;

  it.each(combinations)('%s: the offsets that are read from the virtual-APIC page', (_, bits, reads) => {
    const guest = apicGuest(SECONDARY.APIC_ACCESSES | bits);
    for (let offset = 0; offset < 0x1000; offset += 4) {
      guest.write32(VAPIC + offset, 0x1234_0000 + offset);
      const reason = guest.run(`${readOf(offset)} f4`);
      const isVirtual = (reads as readonly number[]).includes(offset);
      expect([offset, reason]).toEqual([offset, isVirtual ? exitReason.HLT : exitReason.APIC_ACCESS]);
      if (isVirtual) expect(guest.processor.registers.low(RAX)).toBe(0x1234_0000 + offset);
      else expect(guest.get(field.EXIT_QUALIFICATION)).toBe(offset);
    }
  });

  it.each(combinations)('%s: the offsets that are written to the virtual-APIC page', (_, bits, __, writes) => {
    const guest = apicGuest(SECONDARY.APIC_ACCESSES | bits);
    for (let offset = 0; offset < 0x400; offset += 4) {
      guest.memory.u8.fill(0, guest.hpa(VAPIC), guest.hpa(VAPIC) + 0x400);
      guest.set(field.GUEST_INTR_STATUS, 0);
      const reason = guest.run(`b83e000000 ${writeOf(offset)} f4`);
      if (!(writes as readonly number[]).includes(offset)) {
        expect([offset, reason]).toEqual([offset, exitReason.APIC_ACCESS]);
        expect(guest.get(field.EXIT_QUALIFICATION)).toBe(0x1000 | offset);
        expect(register(guest, offset)).toBe(0);
      } else {
        const ends =
          offset === TPR || offset === 0x310 || (bits === SECONDARY.DELIVERY && offset === EOI)
            ? exitReason.HLT
            : exitReason.APIC_WRITE;
        expect([offset, reason]).toEqual([offset, ends]);
        if (ends === exitReason.APIC_WRITE) expect(guest.get(field.EXIT_QUALIFICATION)).toBe(offset);
      }
    }
  });

  it('an APIC-write exit comes after the instruction', () => {
    const guest = apicGuest(SECONDARY.APIC_ACCESSES | SECONDARY.REGISTERS);
    expect(guest.run(`b801000000 ${writeOf(0xf0)} f4`)).toBe(exitReason.APIC_WRITE);
    expect(guest.get(field.GUEST_RIP)).toBe(layout.code + 12);
    expect(register(guest, 0xf0)).toBe(1);
  });

  it.each([
    ['8 bytes', `488b0425${hex32(APIC_PAGE + TPR)}`],
    ['2 bytes that leave the register', `668b0425${hex32(APIC_PAGE + TPR + 3)}`],
    ['a byte of the reserved part', `8a0425${hex32(APIC_PAGE + TPR + 4)}`],
  ])('a read of %s is not virtualized', (_, code) => {
    expect(apicGuest(SECONDARY.APIC_ACCESSES).run(code)).toBe(exitReason.APIC_ACCESS);
  });

  it('a byte of TPR is, and a byte store leaves TPR to its low byte', () => {
    const guest = apicGuest(SECONDARY.APIC_ACCESSES);
    guest.write32(VAPIC + TPR, 0x40);
    expect(guest.run(`8a0425${hex32(APIC_PAGE + TPR)} f4`)).toBe(exitReason.HLT);
    expect(guest.processor.registers.low(RAX) & 0xff).toBe(0x40);
    expect(guest.run(`c60425${hex32(APIC_PAGE + TPR)}20 f4`)).toBe(exitReason.HLT);
    expect(register(guest, TPR)).toBe(0x20);
  });

  it('a store to TPR below the threshold exits behind the store', () => {
    const guest = apicGuest(SECONDARY.APIC_ACCESSES);
    guest.write32(VAPIC + TPR, 0xf0);
    guest.set(field.TPR_THRESHOLD, 5);
    expect(guest.run(`c60425${hex32(APIC_PAGE + TPR)}40 f4`)).toBe(exitReason.TPR_BELOW_THRESHOLD);
    expect(guest.get(field.GUEST_RIP)).toBe(layout.code + 8);
  });

  it('a VM entry with TPR below the threshold exits at once', () => {
    const guest = apicGuest(SECONDARY.APIC_ACCESSES);
    guest.set(field.TPR_THRESHOLD, 5);
    expect(guest.run('90')).toBe(exitReason.TPR_BELOW_THRESHOLD);
    expect(guest.get(field.GUEST_RIP)).toBe(layout.code);
  });

  it('tells the observer of matches at each access and of a page that does not match once', () => {
    const seen: [number, boolean][] = [];
    const guest = apicGuest(SECONDARY.APIC_ACCESSES, {
      observer: {
        vmcsAddressUse: (word, hpa, matched) => {
          if (word === field.APIC_ACCESS_ADDR) seen.push([hpa, matched]);
        },
      },
    });
    guest.run('8b0425 04000300 8b0425 08000300 f4');
    expect(seen.filter(([hpa]) => hpa >>> 12 === guest.hpa(layout.data) >>> 12)).toEqual([
      [guest.hpa(layout.data) + 4, false],
    ]);
    seen.length = 0;
    guest.run(`${readOf(0x80)} ${readOf(0x80)} f4`);
    expect(seen.filter(([, matched]) => matched)).toEqual([
      [guest.hpa(APIC_PAGE) + 0x80, true],
      [guest.hpa(APIC_PAGE) + 0x80, true],
    ]);
  });
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
    guest.memory.u8[guest.hpa(0x7_0000) + (0x808 >> 3)] = 1;
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

describe('posted interrupts', () => {
  const postedGuest = (o: GuestOptions = {}): Guest => {
    const guest = apicGuest(SECONDARY.DELIVERY, o);
    guest.enable(field.PIN_BASED_VM_EXEC_CONTROL, POSTED_INTERRUPTS);
    guest.set(field.POSTED_INTR_NV, NOTIFICATION);
    guest.set(field.POSTED_INTR_DESC_ADDR, guest.hpa(DESCRIPTOR));
    guest.set(field.GUEST_RFLAGS, 2 | IF);
    return guest;
  };
  const post = (guest: Guest, vector: number): void => {
    const at = DESCRIPTOR + 4 * (vector >> 5);
    guest.write32(at, (guest.read32(at) | (1 << (vector & 31))) >>> 0);
    guest.write32(DESCRIPTOR + 32, guest.read32(DESCRIPTOR + 32) | 1);
  };

  it('the notification vector moves PIR to VIRR, clears ON and delivers the highest', () => {
    const guest = postedGuest();
    for (const vector of [0x35, 0x91, 0x92]) post(guest, vector);
    guest.processor.raiseInterrupt(NOTIFICATION);
    expect(guest.run('90 f4')).toBe(exitReason.HLT);
    expect(takenVector(guest)).toBe(0x92);
    expect(guest.get(field.GUEST_INTR_STATUS)).toBe(0x9291);
    expect([bitOf(guest, IRR, 0x35), bitOf(guest, IRR, 0x91), bitOf(guest, IRR, 0x92)]).toEqual([true, true, false]);
    expect(guest.read32(DESCRIPTOR + 32) & 1).toBe(0);
    for (let word = 0; word < 8; word++) expect(guest.read32(DESCRIPTOR + 4 * word)).toBe(0);
  });

  it('is processed with IF clear, and delivered when IF is set', () => {
    const guest = postedGuest();
    guest.set(field.GUEST_RFLAGS, 2);
    post(guest, 0x45);
    guest.processor.raiseInterrupt(NOTIFICATION);
    expect(guest.run('90 90 f4')).toBe(exitReason.HLT);
    expect(guest.get(field.GUEST_INTR_STATUS)).toBe(0x45);
    guest.run('fb 90 90 f4');
    expect(takenVector(guest)).toBe(0x45);
  });

  it('another vector exits, acknowledged', () => {
    const guest = postedGuest();
    guest.processor.raiseInterrupt(NOTIFICATION - 1);
    expect(guest.run('90')).toBe(exitReason.EXTERNAL_INTERRUPT);
    expect(guest.get(field.VM_EXIT_INTR_INFO)).toBe(0x8000_0000 + NOTIFICATION - 1);
  });

  it('without the control the notification vector exits', () => {
    const guest = apicGuest(SECONDARY.DELIVERY);
    guest.set(field.POSTED_INTR_NV, NOTIFICATION);
    guest.processor.raiseInterrupt(NOTIFICATION);
    expect(guest.run('90')).toBe(exitReason.EXTERNAL_INTERRUPT);
  });

  it('wakes a guest that halts', () => {
    const guest = postedGuest();
    guest.set(field.GUEST_ACTIVITY_STATE, 1);
    post(guest, 0x45);
    guest.processor.raiseInterrupt(NOTIFICATION);
    guest.run('90');
    expect(takenVector(guest)).toBe(0x45);
  });

  it('a stale descriptor address really reaches the other frame, and the observer sees it', () => {
    const seen: number[] = [];
    const observer = {
      vmcsAddressUse: (word: number, hpa: number) => {
        if (word === field.POSTED_INTR_DESC_ADDR) seen.push(hpa);
      },
    };
    const guest = postedGuest({ observer });
    const other = 0x9_0000;
    guest.set(field.POSTED_INTR_DESC_ADDR, guest.hpa(other));
    guest.write32(other + 8, 0x20);
    guest.processor.raiseInterrupt(NOTIFICATION);
    guest.run('90 f4');
    expect(takenVector(guest)).toBe(0x45);
    expect(guest.read32(other + 8)).toBe(0);
    expect(seen).toEqual([guest.hpa(other)]);
  });
});
