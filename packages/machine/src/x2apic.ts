import type { LocalApic } from '@nvmx/nested-vmx';
import { apicBase, msr, x2apicMsr } from '@nvmx/vmx-fields';
import { VectorSet } from './vector-set.ts';

const APIC_BASE_RESET = 0xfee0_0000n | BigInt(apicBase.EN | apicBase.BSP);
const APIC_BASE_RESERVED = 0x2ffn;
const MODE_BITS = BigInt(apicBase.EN | apicBase.EXTD);

/** Version 0x14, six local vector table entries: no CMCI. */
const VERSION = 0x0005_0014;
const SPURIOUS_RESET = 0xff;
const SPURIOUS_ENABLED = 0x100;
const SPURIOUS_WRITABLE = 0x3ff;
const LVT_MASKED = 0x1_0000;
const VECTOR_FIRST_LEGAL = 16;
const BROADCAST = 0xffff_ffff;

const error = { SEND_ILLEGAL_VECTOR: 0x20 } as const;

/** Interrupt command register: what a 64-bit write may hold. Delivery status does not exist in x2APIC mode. */
const icr = {
  WRITABLE: 0xffff_ffff_000c_cfffn,
  VECTOR: 0xff,
  LOGICAL: 0x800,
  deliveryMode: { FIXED: 0, LOWEST_PRIORITY: 1 },
  shorthand: { SELF: 1, ALL: 2, OTHERS: 3 },
} as const;

/** Local vector table entries: the bits that software writes, and those that ignore it. All others are reserved. */
const lvtRows: readonly { readonly index: number; readonly writable: number; readonly ignored: number }[] = [
  { index: x2apicMsr.LVTT, writable: 0x3_00ff, ignored: 0x1000 },
  { index: x2apicMsr.LVTTHMR, writable: 0x1_07ff, ignored: 0x1000 },
  { index: x2apicMsr.LVTPC, writable: 0x1_07ff, ignored: 0x1000 },
  { index: x2apicMsr.LVT0, writable: 0x1_a7ff, ignored: 0x5000 },
  { index: x2apicMsr.LVT1, writable: 0x1_a7ff, ignored: 0x5000 },
  { index: x2apicMsr.LVTERR, writable: 0x1_00ff, ignored: 0x1000 },
];

/** How one x2APIC register answers; an accessor that is absent raises #GP(0). */
interface RegisterRow {
  readonly read?: () => number | bigint;
  readonly write?: (value: bigint) => boolean;
}

/**
 * The local APIC of one vCPU: IA32_APIC_BASE with its modes, and the registers of x2APIC mode with real priorities.
 * Intel SDM volume 3, "Extended XAPIC (x2APIC)" and "Handling Interrupts".
 *
 * A reserved register, a reserved bit and a direction that a register does not have raise #GP(0): the accessors return
 * `undefined` and false. Interrupts come from the vCPU itself, by SELF_IPI and ICR: the board has one processor.
 *
 * Not modeled: the memory-mapped registers of xAPIC mode; the timer, which refuses an initial count other than 0; NMI, SMI,
 * INIT and SIPI sent to itself, which ICR refuses.
 */
export class X2Apic implements LocalApic {
  readonly id: number;
  readonly #physicalAddressBits: bigint;
  readonly #rows: ReadonlyMap<number, RegisterRow>;
  #base = APIC_BASE_RESET;
  #state = resetState();

  /** `physicalAddressBits` is what CPUID tells the guest: IA32_APIC_BASE takes no address beyond it. */
  constructor(o: { id: number; physicalAddressBits: number }) {
    this.id = o.id;
    this.#physicalAddressBits = BigInt(o.physicalAddressBits);
    this.#rows = this.#registerRows();
  }

  /** The task priority, whichever mode the APIC is in: what CR8 shows in bits 7:4. */
  get taskPriority(): number {
    return this.#state.tpr;
  }

  set taskPriority(value: number) {
    this.#state.tpr = value & 0xff;
  }

  /** PPR: the higher of the task priority and the class of the interrupt in service. */
  get processorPriority(): number {
    const inService = Math.max(this.#state.isr.highest(), 0) & 0xf0;
    return (this.#state.tpr & 0xf0) >= inService ? this.#state.tpr : inService;
  }

  /** Power-on: xAPIC mode, disabled by software, nothing pending. */
  reset(): void {
    this.#base = APIC_BASE_RESET;
    this.#state = resetState();
  }

  readMsr(index: number): bigint | undefined {
    if (index === msr.IA32_APIC_BASE) return this.#base;
    const value = this.#isX2apic ? this.#rows.get(index)?.read?.() : undefined;
    return value === undefined ? undefined : BigInt(value);
  }

  writeMsr(index: number, value: bigint): boolean {
    if (index === msr.IA32_APIC_BASE) return this.#writeBase(value);
    return this.#isX2apic && (this.#rows.get(index)?.write?.(value) ?? false);
  }

  highestPending(): number {
    const vector = this.#state.irr.highest();
    return (vector & 0xf0) > (this.processorPriority & 0xf0) ? vector : -1;
  }

  acknowledge(vector: number): void {
    this.#state.irr.remove(vector);
    this.#state.isr.add(vector);
  }

  isPending(vector: number): boolean {
    return this.#state.irr.has(vector);
  }

  clearPending(vector: number): void {
    this.#state.irr.remove(vector);
  }

  /**
   * A fixed, edge-triggered interrupt arrives. Dropped while software disables the APIC, which a reset does, too. A vector that
   * is pending already is not counted twice.
   */
  accept(vector: number): void {
    if (this.#softwareEnabled && vector >= VECTOR_FIRST_LEGAL) this.#state.irr.add(vector);
  }

  get #softwareEnabled(): boolean {
    return (this.#state.spurious & SPURIOUS_ENABLED) !== 0;
  }

  get #isX2apic(): boolean {
    return (this.#base & MODE_BITS) === MODE_BITS;
  }

  /**
   * Modes change as the SDM's state diagram allows: x2APIC mode is entered from xAPIC mode and left only by disabling.
   * Intel SDM volume 3, "x2APIC State Transitions".
   */
  #writeBase(value: bigint): boolean {
    if ((value & APIC_BASE_RESERVED) !== 0n || value >> this.#physicalAddressBits !== 0n) return false;
    const mode = value & MODE_BITS;
    const before = this.#base & MODE_BITS;
    const onlyExtended = mode === BigInt(apicBase.EXTD);
    const leavesX2apicHalfway = before === MODE_BITS && mode === BigInt(apicBase.EN);
    const skipsXapic = before === 0n && mode === MODE_BITS;
    if (onlyExtended || leavesX2apicHalfway || skipsXapic) return false;
    this.#base = value;
    if (mode === 0n) this.#state = resetState();
    return true;
  }

  #registerRows(): ReadonlyMap<number, RegisterRow> {
    const eightWords = (first: number, read: (word: number) => number): [number, RegisterRow][] =>
      Array.from({ length: 8 }, (_, word) => [first + word, { read: () => read(word) }]);
    const lvt = lvtRows.map(({ index, writable, ignored }): [number, RegisterRow] => [
      index,
      {
        read: () => this.#state.lvt.get(index)!,
        write: masked(writable | ignored, (value) => this.#writeLvt(index, value & writable)),
      },
    ]);
    return new Map<number, RegisterRow>([
      [x2apicMsr.ID, { read: () => this.id }],
      [x2apicMsr.LVR, { read: () => VERSION }],
      [x2apicMsr.TASKPRI, { read: () => this.#state.tpr, write: masked(0xff, (value) => (this.#state.tpr = value)) }],
      [x2apicMsr.PROCPRI, { read: () => this.processorPriority }],
      [x2apicMsr.EOI, { write: masked(0, () => this.#endOfInterrupt()) }],
      [x2apicMsr.LDR, { read: () => logicalId(this.id) }],
      [
        x2apicMsr.SPIV,
        { read: () => this.#state.spurious, write: masked(SPURIOUS_WRITABLE, (value) => this.#writeSpurious(value)) },
      ],
      ...eightWords(x2apicMsr.ISR0, (word) => this.#state.isr.words[word]!),
      ...eightWords(x2apicMsr.TMR0, () => 0),
      ...eightWords(x2apicMsr.IRR0, (word) => this.#state.irr.words[word]!),
      [x2apicMsr.ESR, { read: () => this.#state.errorsShown, write: masked(0, () => this.#latchErrors()) }],
      [x2apicMsr.ICR, { read: () => this.#state.icr, write: (value) => this.#writeIcr(value) }],
      ...lvt,
      [x2apicMsr.TMICT, { read: () => 0, write: masked(0, () => {}) }],
      [x2apicMsr.TMCCT, { read: () => 0 }],
      [x2apicMsr.TDCR, { read: () => this.#state.divide, write: masked(0xb, (value) => (this.#state.divide = value)) }],
      [x2apicMsr.SELF_IPI, { write: masked(0xff, (value) => this.#sendToSelf(value)) }],
    ]);
  }

  /** EOI ends the interrupt of the highest priority in service. */
  #endOfInterrupt(): void {
    const vector = this.#state.isr.highest();
    if (vector >= 0) this.#state.isr.remove(vector);
  }

  /** While software disables the APIC, every local vector table entry is masked and stays so. */
  #writeSpurious(value: number): void {
    this.#state.spurious = value;
    if (this.#softwareEnabled) return;
    const { lvt } = this.#state;
    for (const [index, entry] of lvt) lvt.set(index, entry | LVT_MASKED);
  }

  #writeLvt(index: number, value: number): void {
    const mask = this.#softwareEnabled ? 0 : LVT_MASKED;
    this.#state.lvt.set(index, value | mask);
  }

  /** A write of ESR shows the errors since the last one. Intel SDM volume 3, "Error Handling". */
  #latchErrors(): void {
    this.#state.errorsShown = this.#state.errors;
    this.#state.errors = 0;
  }

  #sendToSelf(vector: number): void {
    if (vector >= VECTOR_FIRST_LEGAL) this.accept(vector);
    else this.#raiseError(error.SEND_ILLEGAL_VECTOR);
  }

  /** The first error of a kind since ESR was written interrupts through the error entry, if that is unmasked. */
  #raiseError(bit: number): void {
    const isNew = (this.#state.errors & bit) === 0;
    this.#state.errors |= bit;
    const entry = this.#state.lvt.get(x2apicMsr.LVTERR)!;
    if (isNew && (entry & LVT_MASKED) === 0) this.accept(entry & icr.VECTOR);
  }

  /** Sends an interrupt; with one processor, only what reaches this APIC has an effect. */
  #writeIcr(value: bigint): boolean {
    if ((value & ~icr.WRITABLE) !== 0n) return false;
    const command = Number(value & 0xffff_ffffn);
    const toSelf = this.#reachesSelf(command, Number(value >> 32n));
    const mode = (command >>> 8) & 7;
    const isFixed = mode === icr.deliveryMode.FIXED || mode === icr.deliveryMode.LOWEST_PRIORITY;
    if (toSelf && !isFixed) return false;
    this.#state.icr = value;
    const vector = command & icr.VECTOR;
    if (isFixed && vector < VECTOR_FIRST_LEGAL) this.#raiseError(error.SEND_ILLEGAL_VECTOR);
    else if (toSelf) this.accept(vector);
    return true;
  }

  #reachesSelf(command: number, destination: number): boolean {
    const shorthand = (command >>> 18) & 3;
    if (shorthand === icr.shorthand.SELF || shorthand === icr.shorthand.ALL) return true;
    if (shorthand === icr.shorthand.OTHERS) return false;
    if (destination === BROADCAST) return true;
    if ((command & icr.LOGICAL) === 0) return destination === this.id;
    const logical = logicalId(this.id);
    return destination >>> 16 === logical >>> 16 && (destination & logical & 0xffff) !== 0;
  }
}

/** The registers that a reset, and disabling the APIC, set back: all but IA32_APIC_BASE and the id. */
interface ApicState {
  readonly irr: VectorSet;
  readonly isr: VectorSet;
  readonly lvt: Map<number, number>;
  tpr: number;
  spurious: number;
  icr: bigint;
  divide: number;
  /** Errors since the last write of ESR. */
  errors: number;
  /** What that write showed. */
  errorsShown: number;
}

function resetState(): ApicState {
  return {
    irr: new VectorSet(),
    isr: new VectorSet(),
    lvt: new Map(lvtRows.map(({ index }) => [index, LVT_MASKED])),
    tpr: 0,
    spurious: SPURIOUS_RESET,
    icr: 0n,
    divide: 0,
    errors: 0,
    errorsShown: 0,
  };
}

/** Cluster in bits 31:16, one bit of the low half: derived from the id in x2APIC mode. */
function logicalId(id: number): number {
  return (((id >>> 4) << 16) | (1 << (id & 15))) >>> 0;
}

/** A register that takes these bits: a one in any other of the 64 raises #GP(0). */
function masked(allowed: number, write: (value: number) => void): (value: bigint) => boolean {
  const reserved = ~BigInt(allowed);
  return (value) => {
    if ((value & reserved) !== 0n) return false;
    write(Number(value));
    return true;
  };
}
