import { field } from '@nvmx/vmx-fields';
import type { Cpu } from '../cpu.ts';
import { isCanonical, raise, raiseGeneralProtection, raiseUndefinedOpcode, Vector } from '../faults.ts';
import { Flag } from '../flags.ts';
import type { Executor, Instruction } from '../instruction.ts';
import { displacement, operandInformation } from '../instruction-information.ts';
import { load16, load32, load64, store16, store32, store64 } from '../linear-memory.ts';
import {
  Descriptor,
  isNull,
  markBusy,
  Rights,
  readDescriptor,
  Segment,
  selectorOf,
  setNullSegment,
  setSegment,
} from '../segments.ts';
import { Slot } from '../slot.ts';
import { Exit, exitWithInformation } from '../vm-exit.ts';
import { requireCpl0 } from './interrupts.ts';
import { address, isMemory, readOperand, writeOperand, writeRegister } from './operands.ts';

const { GUEST_GDTR_BASE, GUEST_GDTR_LIMIT, GUEST_IDTR_BASE, GUEST_IDTR_LIMIT, GUEST_CR0, GUEST_CR4 } = field;

const SECONDARY_DESCRIPTOR_TABLE_EXITING = 4;
const CR0_PE = 1;
const CR4_UMIP = 0x800;
const EFER_LMA = 0x400;
const OPERAND_SIZE_32 = 1 << 11;
const IDENTITY_SHIFT = 28;
const LDT_TYPE = 2;
const TSS_AVAILABLE = 9;
const TSS_AVAILABLE_16 = 1;

/** `operation` of the rows, as the instruction identity of the exit information. */
export const enum TableRegister {
  SGDT = 0,
  SIDT = 1,
  LGDT = 2,
  LIDT = 3,
}

export const enum SystemSegment {
  SLDT = 0,
  STR = 1,
  LLDT = 2,
  LTR = 3,
}

function isIntercepted(cpu: Cpu): boolean {
  return (cpu.secondaryControls & SECONDARY_DESCRIPTOR_TABLE_EXITING) !== 0;
}

function exit(cpu: Cpu, i: Instruction, reason: Exit, extra: number): void {
  const low = displacement(cpu, i);
  const information = operandInformation(i) | (i.operation << IDENTITY_SHIFT) | extra;
  exitWithInformation(cpu, i, { reason, information, low, high: cpu.r[Slot.HIGH] });
}

/** CR4.UMIP keeps SGDT, SIDT, SLDT, STR and SMSW from all privileges but 0. */
export function requireNoUmip(cpu: Cpu): void {
  if (cpu.cpl !== 0 && (cpu.v[GUEST_CR4] & CR4_UMIP) !== 0) raiseGeneralProtection(cpu);
}

/** SGDT and SIDT. */
export const storeTableRegister: Executor = (cpu, i) => {
  requireNoUmip(cpu);
  if (isIntercepted(cpu)) {
    exit(cpu, i, Exit.GDTR_IDTR, i.width === 2 ? 0 : OPERAND_SIZE_32);
    return;
  }
  const { v, r } = cpu;
  const isGdtr = i.operation === TableRegister.SGDT;
  const base = isGdtr ? GUEST_GDTR_BASE : GUEST_IDTR_BASE;
  const at = address(cpu, i);
  const atHigh = r[Slot.ADDRESS_HIGH];
  const baseAt = (at + 2) | 0;
  const baseAtHigh = atHigh + (baseAt >>> 0 < 2 ? 1 : 0);
  if (cpu.mode === 64) store64(cpu, baseAt, baseAtHigh, v[base], v[base + 1]);
  else store32(cpu, baseAt, baseAtHigh, v[base]);
  store16(cpu, at, atHigh, v[isGdtr ? GUEST_GDTR_LIMIT : GUEST_IDTR_LIMIT]);
};

/** LGDT and LIDT. */
export const loadTableRegister: Executor = (cpu, i) => {
  requireCpl0(cpu);
  if (isIntercepted(cpu)) {
    exit(cpu, i, Exit.GDTR_IDTR, i.width === 2 ? 0 : OPERAND_SIZE_32);
    return;
  }
  const { v, r } = cpu;
  const isGdtr = i.operation === TableRegister.LGDT;
  const base = isGdtr ? GUEST_GDTR_BASE : GUEST_IDTR_BASE;
  const at = address(cpu, i);
  const atHigh = r[Slot.ADDRESS_HIGH];
  const limit = load16(cpu, at, atHigh);
  const baseAt = (at + 2) | 0;
  const baseAtHigh = atHigh + (baseAt >>> 0 < 2 ? 1 : 0);
  const isLong = cpu.mode === 64;
  let low = isLong ? load64(cpu, baseAt, baseAtHigh) : load32(cpu, baseAt, baseAtHigh);
  const high = isLong ? r[Slot.HIGH] : 0;
  if (isLong && !isCanonical(high)) raiseGeneralProtection(cpu);
  if (!isLong && i.width === 2) low &= 0xff_ffff;
  v[isGdtr ? GUEST_GDTR_LIMIT : GUEST_IDTR_LIMIT] = limit;
  v[base] = low;
  v[base + 1] = high;
};

function requireProtectedMode(cpu: Cpu): void {
  if ((cpu.v[GUEST_CR0] & CR0_PE) === 0 || (cpu.r[Slot.SYSTEM_FLAGS] & Flag.VM) !== 0) raiseUndefinedOpcode(cpu);
}

/** SLDT and STR. */
export const storeSystemSegment: Executor = (cpu, i) => {
  requireProtectedMode(cpu);
  requireNoUmip(cpu);
  if (isIntercepted(cpu)) {
    exit(cpu, i, Exit.LDTR_TR, 0);
    return;
  }
  const selector = selectorOf(cpu, i.operation === SystemSegment.SLDT ? Segment.LDTR : Segment.TR);
  if (isMemory(i)) writeOperand(cpu, i, 2, selector, 0);
  else writeRegister(cpu, i.rm, i.width, selector, 0);
};

const descriptor = new Descriptor();

/** LLDT and LTR. */
export const loadSystemSegment: Executor = (cpu, i) => {
  requireProtectedMode(cpu);
  requireCpl0(cpu);
  if (isIntercepted(cpu)) {
    exit(cpu, i, Exit.LDTR_TR, 0);
    return;
  }
  const selector = readOperand(cpu, i, 2) & 0xffff;
  if (i.operation === SystemSegment.LLDT) loadLdt(cpu, selector);
  else loadTaskRegister(cpu, selector);
};

function loadLdt(cpu: Cpu, selector: number): void {
  if (isNull(selector)) {
    setNullSegment(cpu, Segment.LDTR, selector);
    return;
  }
  readSystemDescriptor(cpu, selector);
  if ((descriptor.rights & 0x1f) !== LDT_TYPE) raiseGeneralProtection(cpu, selector & ~7);
  if ((descriptor.rights & Rights.PRESENT) === 0) raise(cpu, Vector.NP, selector & ~7);
  setSegment(cpu, Segment.LDTR, selector, descriptor);
}

function loadTaskRegister(cpu: Cpu, selector: number): void {
  if (isNull(selector)) raiseGeneralProtection(cpu);
  readSystemDescriptor(cpu, selector);
  const type = descriptor.rights & 0x1f;
  const isAvailable = type === TSS_AVAILABLE || (type === TSS_AVAILABLE_16 && (cpu.efer & EFER_LMA) === 0);
  if (!isAvailable) raiseGeneralProtection(cpu, selector & ~7);
  if ((descriptor.rights & Rights.PRESENT) === 0) raise(cpu, Vector.NP, selector & ~7);
  markBusy(cpu, descriptor);
  setSegment(cpu, Segment.TR, selector, descriptor);
}

/** System descriptors live in the GDT, and take 16 bytes in IA-32e mode. */
function readSystemDescriptor(cpu: Cpu, selector: number): void {
  if ((selector & 4) !== 0) raiseGeneralProtection(cpu, selector & ~7);
  const wide = (cpu.efer & EFER_LMA) !== 0;
  readDescriptor(cpu, selector, descriptor, { vector: Vector.GP, external: 0, wide });
  if (wide && !isCanonical(descriptor.baseHigh)) raiseGeneralProtection(cpu, selector & ~7);
}
