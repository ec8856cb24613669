import { describe, expect, it } from 'vitest';
import { X2Apic } from '../src/index.ts';

const APIC_BASE = 0x1b;
const [ID, VERSION, TPR, PPR, EOI, LDR, SVR] = [0x802, 0x803, 0x808, 0x80a, 0x80b, 0x80d, 0x80f] as const;
const [ISR0, TMR0, IRR0, ESR, ICR] = [0x810, 0x818, 0x820, 0x828, 0x830] as const;
const [LVT_TIMER, LVT_LINT0, LVT_ERROR, INIT_COUNT, CUR_COUNT, DIVIDE, SELF_IPI] = [
  0x832, 0x835, 0x837, 0x838, 0x839, 0x83e, 0x83f,
] as const;
const EN = 0x800n;
const EXTD = 0x400n;
const BSP = 0x100n;
const ADDRESS = 0xfee0_0000n;
const MASKED = 0x1_0000n;

const readWrite: readonly number[] = [
  TPR,
  SVR,
  ESR,
  ICR,
  LVT_TIMER,
  0x833,
  0x834,
  LVT_LINT0,
  0x836,
  LVT_ERROR,
  INIT_COUNT,
  DIVIDE,
];
const readOnly = [ID, VERSION, PPR, LDR, ...eight(ISR0), ...eight(TMR0), ...eight(IRR0), CUR_COUNT];
const writeOnly: readonly number[] = [EOI, SELF_IPI];

describe('the register map of x2APIC mode', () => {
  it('raises #GP for every register of 0x800..0x8ff that is reserved or lacks the direction', () => {
    for (let index = 0x800; index <= 0x8ff; index += 1) {
      const apic = enabled();
      const readable = readWrite.includes(index) || readOnly.includes(index);
      const writable = readWrite.includes(index) || writeOnly.includes(index);
      expect(apic.readMsr(index) !== undefined, `read ${index.toString(16)}`).toBe(readable);
      expect(apic.writeMsr(index, 0n), `write ${index.toString(16)}`).toBe(writable);
    }
  });

  it.each([
    ['TPR', TPR, 0xffn],
    ['EOI', EOI, 0n],
    ['SVR', SVR, 0x3ffn],
    ['ESR', ESR, 0n],
    ['LVT timer', LVT_TIMER, 0x3_10ffn],
    ['LVT thermal', 0x833, 0x1_17ffn],
    ['LVT performance counter', 0x834, 0x1_17ffn],
    ['LVT LINT0', LVT_LINT0, 0x1_f7ffn],
    ['LVT LINT1', 0x836, 0x1_f7ffn],
    ['LVT error', LVT_ERROR, 0x1_10ffn],
    ['initial count', INIT_COUNT, 0n],
    ['divide configuration', DIVIDE, 0xbn],
    ['self IPI', SELF_IPI, 0xffn],
  ])('raises #GP for each single reserved bit of %s, and for no other bit', (_name, index, allowed) => {
    for (let bit = 0n; bit < 64n; bit += 1n) {
      const value = 1n << bit;
      expect(enabled().writeMsr(index, value), `bit ${bit}`).toBe((value & allowed) !== 0n);
    }
  });

  it('raises #GP for each reserved bit of ICR', () => {
    const others = 0xcn << 16n;
    for (let bit = 0n; bit < 64n; bit += 1n) {
      const reserved = bit === 12n || bit === 13n || bit === 16n || bit === 17n || (bit >= 20n && bit < 32n);
      expect(enabled().writeMsr(ICR, others | (1n << bit)), `bit ${bit}`).toBe(!reserved);
    }
  });

  it('ignores the read-only bits of a local vector table entry', () => {
    const apic = enabled();
    apic.writeMsr(LVT_LINT0, 0x5000n | 0x20n);
    expect(apic.readMsr(LVT_LINT0)).toBe(0x20n);
  });

  it('has the values of reset', () => {
    const apic = enabled({ id: 0x25, software: false });
    expect([ID, VERSION, TPR, PPR, SVR, ESR, ICR].map((index) => apic.readMsr(index))).toEqual([
      0x25n,
      0x0005_0014n,
      0n,
      0n,
      0xffn,
      0n,
      0n,
    ]);
    expect(apic.readMsr(LDR)).toBe(0x0002_0020n);
    for (const index of [LVT_TIMER, 0x833, 0x834, LVT_LINT0, 0x836, LVT_ERROR]) {
      expect(apic.readMsr(index)).toBe(MASKED);
    }
  });

  it('does not exist outside x2APIC mode', () => {
    const apic = new X2Apic({ id: 0, physicalAddressBits: 46 });
    expect([apic.readMsr(ID), apic.writeMsr(TPR, 0n)]).toEqual([undefined, false]);
    apic.writeMsr(APIC_BASE, ADDRESS);
    expect([apic.readMsr(ID), apic.writeMsr(TPR, 0n)]).toEqual([undefined, false]);
  });

  it('holds no other MSR', () => {
    for (const index of [0x7ff, 0x900, 0x1a, 0xc000_0080]) {
      expect([enabled().readMsr(index), enabled().writeMsr(index, 0n)]).toEqual([undefined, false]);
    }
  });
});

describe('IA32_APIC_BASE', () => {
  it('is 0xfee00000, enabled, of the bootstrap processor after reset', () => {
    expect(new X2Apic({ id: 0, physicalAddressBits: 46 }).readMsr(APIC_BASE)).toBe(ADDRESS | EN | BSP);
  });

  it.each([
    ['disabled', 0n, { disabled: true, xapic: true, invalid: false, x2apic: false }],
    ['xAPIC', EN, { disabled: true, xapic: true, invalid: false, x2apic: true }],
    ['x2APIC', EN | EXTD, { disabled: true, xapic: false, invalid: false, x2apic: true }],
  ] as const)('goes from %s where the state diagram allows', (_name, from, allowed) => {
    const to = { disabled: 0n, xapic: EN, invalid: EXTD, x2apic: EN | EXTD };
    for (const name of ['disabled', 'xapic', 'invalid', 'x2apic'] as const) {
      const apic = new X2Apic({ id: 0, physicalAddressBits: 46 });
      apic.writeMsr(APIC_BASE, ADDRESS | from);
      expect(apic.readMsr(APIC_BASE)).toBe(ADDRESS | from);
      expect(apic.writeMsr(APIC_BASE, ADDRESS | to[name]), name).toBe(allowed[name]);
      expect(apic.readMsr(APIC_BASE), name).toBe(ADDRESS | (allowed[name] ? to[name] : from));
    }
  });

  it('raises #GP for reserved bits 7:0 and 9, and for addresses beyond the physical width', () => {
    for (let bit = 0n; bit < 64n; bit += 1n) {
      const apic = new X2Apic({ id: 0, physicalAddressBits: 46 });
      const reserved = bit < 8n || bit === 9n || bit >= 46n;
      expect(apic.writeMsr(APIC_BASE, EN | (1n << bit)), `bit ${bit}`).toBe(!reserved);
    }
  });

  it('resets every register when the APIC is disabled', () => {
    const apic = enabled();
    apic.writeMsr(TPR, 0x30n);
    apic.writeMsr(LVT_LINT0, 0x20n);
    apic.writeMsr(SELF_IPI, 0x50n);
    apic.writeMsr(APIC_BASE, ADDRESS);
    expect([apic.isPending(0x50), apic.highestPending()]).toEqual([false, -1]);
    apic.writeMsr(APIC_BASE, ADDRESS | EN);
    apic.writeMsr(APIC_BASE, ADDRESS | EN | EXTD);
    expect([TPR, SVR, LVT_LINT0].map((index) => apic.readMsr(index))).toEqual([0n, 0xffn, MASKED]);
  });

  it('returns to power-on with all registers by a reset', () => {
    const apic = enabled();
    for (const [index, value] of [
      [TPR, 0x30n],
      [ICR, 0x4_0050n],
      [DIVIDE, 3n],
      [SELF_IPI, 0x51n],
    ] as const) {
      apic.writeMsr(index, value);
    }
    apic.acknowledge(0x50);
    apic.writeMsr(SELF_IPI, 1n);
    apic.writeMsr(ESR, 0n);
    apic.reset();
    expect(apic.readMsr(APIC_BASE)).toBe(ADDRESS | EN | BSP);
    apic.writeMsr(APIC_BASE, ADDRESS | EN | EXTD);
    const fresh = enabled({ software: false });
    for (const index of [...readWrite, ...readOnly]) expect(apic.readMsr(index)).toBe(fresh.readMsr(index));
  });

  it('keeps the registers when xAPIC mode becomes x2APIC mode', () => {
    const apic = new X2Apic({ id: 0, physicalAddressBits: 46 });
    apic.taskPriority = 0x20;
    apic.writeMsr(APIC_BASE, ADDRESS | EN | EXTD);
    expect(apic.readMsr(TPR)).toBe(0x20n);
  });
});

describe('priorities', () => {
  it('deliver a vector whose class is above the task priority, for every pair of classes', () => {
    for (let task = 0; task < 16; task += 1) {
      for (let level = 1; level < 16; level += 1) {
        const apic = enabled();
        apic.writeMsr(TPR, BigInt(task * 16 + 15));
        apic.accept(level * 16);
        expect(apic.highestPending()).toBe(level > task ? level * 16 : -1);
      }
    }
  });

  it('deliver the highest vector first and hold the lower class until EOI', () => {
    const apic = enabled();
    for (const vector of [0x31, 0x52, 0x51]) apic.accept(vector);
    expect(take(apic)).toBe(0x52);
    expect([apic.processorPriority, apic.highestPending()]).toEqual([0x50, -1]);
    apic.writeMsr(EOI, 0n);
    expect(take(apic)).toBe(0x51);
    apic.accept(0x60);
    expect(take(apic)).toBe(0x60);
    apic.writeMsr(EOI, 0n);
    expect([apic.processorPriority, apic.highestPending()]).toEqual([0x50, -1]);
    apic.writeMsr(EOI, 0n);
    expect(take(apic)).toBe(0x31);
  });

  it('show in PPR the task priority whole, or the class in service alone', () => {
    const apic = enabled();
    apic.writeMsr(TPR, 0x37n);
    expect(apic.readMsr(PPR)).toBe(0x37n);
    apic.accept(0x4f);
    take(apic);
    expect(apic.readMsr(PPR)).toBe(0x40n);
    apic.writeMsr(TPR, 0x4an);
    expect(apic.readMsr(PPR)).toBe(0x4an);
  });

  it('keep an EOI with nothing in service without effect', () => {
    const apic = enabled();
    expect(apic.writeMsr(EOI, 0n)).toBe(true);
    expect(apic.readMsr(PPR)).toBe(0n);
  });
});

describe('pending and in-service registers', () => {
  it('show each vector in its bit, from IRR to ISR to nowhere', () => {
    for (let vector = 16; vector < 256; vector += 1) {
      const apic = enabled();
      const word = vector >>> 5;
      const bit = BigInt((1 << (vector & 31)) >>> 0);
      apic.writeMsr(SELF_IPI, BigInt(vector));
      expect([apic.readMsr(IRR0 + word), apic.readMsr(ISR0 + word)]).toEqual([bit, 0n]);
      expect([apic.isPending(vector), apic.highestPending()]).toEqual([true, vector]);
      apic.acknowledge(vector);
      expect([apic.readMsr(IRR0 + word), apic.readMsr(ISR0 + word)]).toEqual([0n, bit]);
      apic.writeMsr(EOI, 0n);
      expect(apic.readMsr(ISR0 + word)).toBe(0n);
    }
  });

  it('count a vector once that arrives twice, and again while it is in service', () => {
    const apic = enabled();
    apic.accept(0x40);
    apic.accept(0x40);
    expect(take(apic)).toBe(0x40);
    expect(apic.isPending(0x40)).toBe(false);
    apic.accept(0x40);
    expect([apic.isPending(0x40), apic.highestPending()]).toEqual([true, -1]);
    apic.writeMsr(EOI, 0n);
    expect(take(apic)).toBe(0x40);
  });

  it('take a vector out without servicing it', () => {
    const apic = enabled();
    apic.accept(0x40);
    apic.clearPending(0x40);
    expect([apic.isPending(0x40), apic.highestPending(), apic.readMsr(PPR)]).toEqual([false, -1, 0n]);
  });

  it('mark fixed interrupts as edge-triggered', () => {
    const apic = enabled();
    apic.accept(0x40);
    expect(eight(TMR0).every((index) => apic.readMsr(index) === 0n)).toBe(true);
  });
});

describe('software disable', () => {
  it('drops what arrives, and still delivers what was pending', () => {
    const apic = enabled();
    apic.accept(0x40);
    apic.writeMsr(SVR, 0xffn);
    apic.accept(0x50);
    expect([apic.isPending(0x50), apic.highestPending()]).toEqual([false, 0x40]);
  });

  it('masks every local vector table entry and keeps it masked', () => {
    const apic = enabled();
    apic.writeMsr(LVT_LINT0, 0x20n);
    expect(apic.readMsr(LVT_LINT0)).toBe(0x20n);
    apic.writeMsr(SVR, 0xffn);
    expect(apic.readMsr(LVT_LINT0)).toBe(MASKED | 0x20n);
    apic.writeMsr(LVT_LINT0, 0x21n);
    expect(apic.readMsr(LVT_LINT0)).toBe(MASKED | 0x21n);
    apic.writeMsr(SVR, 0x1ffn);
    apic.writeMsr(LVT_LINT0, 0x21n);
    expect(apic.readMsr(LVT_LINT0)).toBe(0x21n);
  });
});

describe('the interrupt command register', () => {
  const vector = 0x61n;
  it.each([
    ['self', 1n << 18n, true],
    ['all including self', 2n << 18n, true],
    ['all but self', 3n << 18n, false],
    ['its physical id', 0x25n << 32n, true],
    ['another physical id', 0x24n << 32n, false],
    ['everyone', 0xffff_ffffn << 32n, true],
    ['its logical id', 0x800n | (0x0002_0020n << 32n), true],
    ['its cluster, with others', 0x800n | (0x0002_ffffn << 32n), true],
    ['its cluster without itself', 0x800n | (0x0002_ffdfn << 32n), false],
    ['another cluster', 0x800n | (0x0003_0020n << 32n), false],
    ['everyone by logical address', 0x800n | (0xffff_ffffn << 32n), true],
  ])('sent to %s', (_to, destination, arrives) => {
    const apic = enabled({ id: 0x25 });
    expect(apic.writeMsr(ICR, destination | vector)).toBe(true);
    expect(apic.isPending(Number(vector))).toBe(arrives);
    expect(apic.readMsr(ICR)).toBe(destination | vector);
  });

  it('delivers lowest priority to itself as the only candidate', () => {
    const apic = enabled();
    apic.writeMsr(ICR, (1n << 18n) | 0x100n | vector);
    expect(apic.isPending(Number(vector))).toBe(true);
  });

  it.each([2n, 3n, 4n, 5n, 6n, 7n])('refuses delivery mode %i to itself, and sends it to the others', (mode) => {
    const apic = enabled();
    expect(apic.writeMsr(ICR, (1n << 18n) | (mode << 8n) | vector)).toBe(false);
    expect([apic.readMsr(ICR), apic.isPending(Number(vector))]).toEqual([0n, false]);
    expect(apic.writeMsr(ICR, (3n << 18n) | (mode << 8n) | vector)).toBe(true);
    expect(apic.isPending(Number(vector))).toBe(false);
  });
});

describe('errors', () => {
  it.each([
    ['self IPI', SELF_IPI, 0n],
    ['ICR', ICR, 1n << 18n],
    ['ICR to another', ICR, 9n << 32n],
  ])('a vector below 16 by %s sends nothing and shows in ESR after it is written', (_name, index, command) => {
    for (let vector = 0; vector < 16; vector += 1) {
      const apic = enabled();
      expect(apic.writeMsr(index, command | BigInt(vector))).toBe(true);
      expect([apic.highestPending(), apic.readMsr(ESR)]).toEqual([-1, 0n]);
      apic.writeMsr(ESR, 0n);
      expect(apic.readMsr(ESR)).toBe(0x20n);
      apic.writeMsr(ESR, 0n);
      expect(apic.readMsr(ESR)).toBe(0n);
    }
  });

  it('interrupt through the error entry once until ESR is written', () => {
    const apic = enabled();
    apic.writeMsr(LVT_ERROR, 0x77n);
    apic.writeMsr(SELF_IPI, 1n);
    expect(apic.highestPending()).toBe(0x77);
    apic.clearPending(0x77);
    apic.writeMsr(SELF_IPI, 1n);
    expect(apic.highestPending()).toBe(-1);
    apic.writeMsr(ESR, 0n);
    apic.writeMsr(SELF_IPI, 1n);
    expect(apic.highestPending()).toBe(0x77);
  });

  it('interrupt nothing while the error entry is masked', () => {
    const apic = enabled();
    apic.writeMsr(LVT_ERROR, MASKED | 0x77n);
    apic.writeMsr(SELF_IPI, 1n);
    expect(apic.highestPending()).toBe(-1);
  });
});

describe('the timer', () => {
  it('stands still: its counts read 0, and starting it raises #GP', () => {
    const apic = enabled();
    expect([apic.readMsr(INIT_COUNT), apic.readMsr(CUR_COUNT)]).toEqual([0n, 0n]);
    expect([apic.writeMsr(INIT_COUNT, 0n), apic.writeMsr(INIT_COUNT, 1n)]).toEqual([true, false]);
    apic.writeMsr(DIVIDE, 0xbn);
    expect(apic.readMsr(DIVIDE)).toBe(0xbn);
  });
});

describe('the task priority', () => {
  it('is CR8 in every mode, eight bits wide', () => {
    const apic = new X2Apic({ id: 0, physicalAddressBits: 46 });
    apic.taskPriority = 0x1f0;
    expect(apic.taskPriority).toBe(0xf0);
  });
});

/** An APIC in x2APIC mode, enabled by software unless the case says otherwise. */
function enabled(o: { id?: number; software?: boolean } = {}): X2Apic {
  const apic = new X2Apic({ id: o.id ?? 0, physicalAddressBits: 46 });
  apic.writeMsr(APIC_BASE, ADDRESS | EN | EXTD | BSP);
  if (o.software !== false) apic.writeMsr(SVR, 0x1ffn);
  return apic;
}

/** What the vCPU does with a deliverable interrupt. */
function take(apic: X2Apic): number {
  const vector = apic.highestPending();
  if (vector >= 0) apic.acknowledge(vector);
  return vector;
}

function eight(first: number): number[] {
  return Array.from({ length: 8 }, (_, word) => first + word);
}
