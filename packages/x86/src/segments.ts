import { field } from '@nvmx/vmx-fields';
import type { Cpu } from './cpu.ts';
import { raise, raiseGeneralProtection, Vector } from './faults.ts';
import { load32, load64, store32 } from './linear-memory.ts';
import { Slot } from './slot.ts';
import { Privilege } from './tlb.ts';
import { selectTranslations } from './translation.ts';

const {
  GUEST_ES_SELECTOR,
  GUEST_ES_LIMIT,
  GUEST_ES_AR_BYTES,
  GUEST_ES_BASE,
  GUEST_LDTR_AR_BYTES,
  GUEST_LDTR_BASE,
  GUEST_LDTR_LIMIT,
  GUEST_GDTR_BASE,
  GUEST_GDTR_LIMIT,
} = field;

/** Segment registers, numbered as in instructions and as the VMCS orders them. */
export const enum Segment {
  ES = 0,
  CS = 1,
  SS = 2,
  DS = 3,
  FS = 4,
  GS = 5,
  LDTR = 6,
  TR = 7,
}

/** Access rights in the format of the VMCS. */
export const enum Rights {
  ACCESSED = 0x1,
  /** Of a data segment: writable. Of a code segment: readable. */
  WRITABLE = 0x2,
  CONFORMING = 0x4,
  CODE = 0x8,
  NOT_SYSTEM = 0x10,
  PRESENT = 0x80,
  LONG = 0x2000,
  BIG = 0x4000,
  GRANULAR = 0x8000,
  UNUSABLE = 0x1_0000,
}

const WORDS_PER_FIELD = 2;
const SELECTOR_LDT = 4;
const SELECTOR_INDEX = 0xfff8;
const RPL = 3;
const DESCRIPTOR_ACCESSED = 0x100;
const DESCRIPTOR_BUSY = 0x200;
const DPL_SHIFT = 5;

export function selectorOf(cpu: Cpu, segment: Segment): number {
  return cpu.v[GUEST_ES_SELECTOR + WORDS_PER_FIELD * segment] & 0xffff;
}

export function rightsOf(cpu: Cpu, segment: Segment): number {
  return cpu.v[GUEST_ES_AR_BYTES + WORDS_PER_FIELD * segment];
}

export function limitOf(cpu: Cpu, segment: Segment): number {
  return cpu.v[GUEST_ES_LIMIT + WORDS_PER_FIELD * segment];
}

/** Word of the segment-base field. */
export function baseWord(segment: Segment): number {
  return GUEST_ES_BASE + WORDS_PER_FIELD * segment;
}

export function dplOf(rights: number): number {
  return (rights >>> DPL_SHIFT) & 3;
}

/** Reads a descriptor table, the TSS or the IDT: with supervisor privilege, whatever CPL is. */
export function systemLoad32(cpu: Cpu, low: number, high: number): number {
  const changed = beginSystemAccess(cpu);
  const value = load32(cpu, low, high);
  if (changed) endSystemAccess(cpu);
  return value;
}

/** `systemLoad32` for 64 bits; the high word goes to `Slot.HIGH`. */
export function systemLoad64(cpu: Cpu, low: number, high: number): number {
  const changed = beginSystemAccess(cpu);
  const value = load64(cpu, low, high);
  if (changed) endSystemAccess(cpu);
  return value;
}

/** True when the translations were changed: `endSystemAccess` has to follow. A fault in between needs nothing. */
export function beginSystemAccess(cpu: Cpu): boolean {
  if (cpu.privilege === Privilege.SUPERVISOR) return false;
  cpu.systemAccess = true;
  selectTranslations(cpu);
  return true;
}

export function endSystemAccess(cpu: Cpu): void {
  cpu.systemAccess = false;
  selectTranslations(cpu);
}

/** A descriptor as it was read. */
export class Descriptor {
  low = 0;
  high = 0;
  /** Bits 63:32 of the base of a 16-byte system descriptor. */
  baseHigh = 0;
  /** Linear address of the descriptor. */
  addressLow = 0;
  addressHigh = 0;

  /** Access rights in the format of the VMCS. */
  get rights(): number {
    return (this.high >>> 8) & 0xf0ff;
  }

  get base(): number {
    return (this.low >>> 16) | ((this.high & 0xff) << 16) | (this.high & 0xff00_0000);
  }

  /** Limit in bytes. */
  get limit(): number {
    const limit = (this.low & 0xffff) | (this.high & 0xf_0000);
    return (this.rights & Rights.GRANULAR) !== 0 ? ((limit << 12) | 0xfff) >>> 0 : limit;
  }
}

/** Reads the descriptor of a selector that is not null. Outside of its table: `vector` with the selector as error code. */
export function readDescriptor(
  cpu: Cpu,
  selector: number,
  into: Descriptor,
  o: { readonly vector: Vector; readonly external: number; readonly wide?: boolean },
): void {
  const { v } = cpu;
  const local = (selector & SELECTOR_LDT) !== 0;
  const limit = local ? v[GUEST_LDTR_LIMIT] : v[GUEST_GDTR_LIMIT];
  const base = local ? GUEST_LDTR_BASE : GUEST_GDTR_BASE;
  const index = selector & SELECTOR_INDEX;
  const lastByte = index + (o.wide === true ? 15 : 7);
  const isUsable = !local || (v[GUEST_LDTR_AR_BYTES] & Rights.UNUSABLE) === 0;
  if (!isUsable || lastByte > limit) raise(cpu, o.vector, (selector & ~RPL) | o.external);
  addToPair(v[base], v[base + 1], index, into);
  into.low = systemLoad64(cpu, into.addressLow, into.addressHigh);
  into.high = cpu.r[Slot.HIGH];
  if (o.wide === true) {
    const next = (into.addressLow + 8) | 0;
    into.baseHigh = systemLoad64(cpu, next, into.addressHigh);
  } else into.baseHigh = 0;
}

function addToPair(low: number, high: number, offset: number, into: Descriptor): void {
  const sum = low + offset;
  into.addressLow = sum | 0;
  into.addressHigh = (high + (sum > 0xffff_ffff ? 1 : 0)) | 0;
}

/** Sets the accessed bit of a code or data descriptor in its table. */
export function markAccessed(cpu: Cpu, descriptor: Descriptor): void {
  if ((descriptor.high & DESCRIPTOR_ACCESSED) !== 0) return;
  descriptor.high |= DESCRIPTOR_ACCESSED;
  writeDescriptorHigh(cpu, descriptor);
}

/** Marks a TSS descriptor busy in its table. */
export function markBusy(cpu: Cpu, descriptor: Descriptor): void {
  descriptor.high |= DESCRIPTOR_BUSY;
  writeDescriptorHigh(cpu, descriptor);
}

function writeDescriptorHigh(cpu: Cpu, descriptor: Descriptor): void {
  const changed = beginSystemAccess(cpu);
  const low = (descriptor.addressLow + 4) | 0;
  store32(cpu, low, descriptor.addressHigh, descriptor.high);
  if (changed) endSystemAccess(cpu);
}

/** Loads the hidden part of a segment register from a descriptor. */
export function setSegment(cpu: Cpu, segment: Segment, selector: number, descriptor: Descriptor): void {
  const { v } = cpu;
  const at = WORDS_PER_FIELD * segment;
  v[GUEST_ES_SELECTOR + at] = selector;
  v[GUEST_ES_LIMIT + at] = descriptor.limit;
  v[GUEST_ES_AR_BYTES + at] = descriptor.rights;
  v[GUEST_ES_BASE + at] = descriptor.base;
  v[GUEST_ES_BASE + at + 1] = descriptor.baseHigh;
}

/** Loads a null selector: the segment is unusable, its base 0. */
export function setNullSegment(cpu: Cpu, segment: Segment, selector: number, dpl = 0): void {
  const { v } = cpu;
  const at = WORDS_PER_FIELD * segment;
  v[GUEST_ES_SELECTOR + at] = selector;
  v[GUEST_ES_AR_BYTES + at] = Rights.UNUSABLE | (dpl << DPL_SHIFT);
  v[GUEST_ES_BASE + at] = 0;
  v[GUEST_ES_BASE + at + 1] = 0;
}

export function isNull(selector: number): boolean {
  return (selector & ~RPL) === 0;
}

const scratch = new Descriptor();

/** MOV or POP to ES, DS, FS, GS or SS; the loads of an interrupt return. Source: SDM volume 2, "MOV". */
export function loadDataSegment(cpu: Cpu, segment: Segment, selector: number): void {
  if (isNull(selector)) {
    const rpl = selector & RPL;
    if (segment === Segment.SS && (cpu.mode !== 64 || cpu.cpl === 3 || rpl !== cpu.cpl)) raiseGeneralProtection(cpu);
    setNullSegment(cpu, segment, selector, segment === Segment.SS ? cpu.cpl : 0);
    return;
  }
  readDescriptor(cpu, selector, scratch, { vector: Vector.GP, external: 0 });
  checkDataDescriptor(cpu, segment, selector);
  markAccessed(cpu, scratch);
  setSegment(cpu, segment, selector, scratch);
}

function checkDataDescriptor(cpu: Cpu, segment: Segment, selector: number): void {
  const { rights } = scratch;
  const code = selector & ~RPL;
  const rpl = selector & RPL;
  const dpl = dplOf(rights);
  if ((rights & Rights.NOT_SYSTEM) === 0) raiseGeneralProtection(cpu, code);
  if (segment === Segment.SS) {
    const writable = (rights & (Rights.CODE | Rights.WRITABLE)) === Rights.WRITABLE;
    if (!writable || rpl !== cpu.cpl || dpl !== cpu.cpl) raiseGeneralProtection(cpu, code);
    if ((rights & Rights.PRESENT) === 0) raise(cpu, Vector.SS, code);
    return;
  }
  const readable = (rights & Rights.CODE) === 0 || (rights & Rights.WRITABLE) !== 0;
  const conforming = (rights & (Rights.CODE | Rights.CONFORMING)) === (Rights.CODE | Rights.CONFORMING);
  if (!readable || (!conforming && (rpl > dpl || cpu.cpl > dpl))) raiseGeneralProtection(cpu, code);
  if ((rights & Rights.PRESENT) === 0) raise(cpu, Vector.NP, code);
}
