import { exitReason, field } from '@nvmx/vmx-fields';
import { describe, expect, it } from 'vitest';
import { RAX } from '../src/index.ts';
import { APIC_PAGE, apicGuest, EOI, hex32, readOf, register, SECONDARY, TPR, VAPIC, writeOf } from './apic-guest.ts';
import { Guest, layout } from './guest.ts';

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
