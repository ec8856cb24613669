import { field } from '@nvmx/vmx-fields';
import type { Cpu } from '../cpu.ts';
import { isCanonical, raiseGeneralProtection } from '../faults.ts';
import type { Executor } from '../instruction.ts';
import { updateMode } from '../mode.ts';
import { entryAddress } from '../paging.ts';
import { Slot } from '../slot.ts';
import { isX2apicVirtualized, readX2apic, writeX2apic } from '../virtual-apic.ts';
import { Exit, exitInstruction } from '../vm-exit.ts';
import { requireCpl0 } from './interrupts.ts';
import { writeRegister } from './operands.ts';

const {
  MSR_BITMAP,
  GUEST_FS_BASE,
  GUEST_GS_BASE,
  GUEST_SYSENTER_CS,
  GUEST_SYSENTER_ESP,
  GUEST_SYSENTER_EIP,
  GUEST_CR0,
  TSC_OFFSET,
} = field;

const PROC_USE_MSR_BITMAPS = 0x1000_0000;
const PROC_TSC_OFFSETTING = 8;
const LOW_RANGE_END = 0x2000;
const HIGH_RANGE = 0xc000_0000;
const WRITES = 0x800;
const HIGH = 0x400;
const TWO_32 = 2 ** 32;

const EFER_LME = 0x100;
const EFER_LMA = 0x400;
const EFER_NXE = 0x800;
const EFER_WRITABLE = 0x901;
const CR0_PG = 0x8000_0000 | 0;
const DEBUGCTL_WRITABLE = 0xdfc3;
const PAT_RESERVED = 0xf8f8_f8f8 | 0;

/** Model-specific registers that this processor has itself, SDM volume 4. */
export const enum Msr {
  TIME_STAMP_COUNTER = 0x10,
  SYSENTER_CS = 0x174,
  SYSENTER_ESP = 0x175,
  SYSENTER_EIP = 0x176,
  DEBUGCTL = 0x1d9,
  PAT = 0x277,
  X2APIC_FIRST = 0x800,
  X2APIC_LAST = 0x8ff,
  EFER = 0xc000_0080,
  STAR = 0xc000_0081,
  LSTAR = 0xc000_0082,
  CSTAR = 0xc000_0083,
  FMASK = 0xc000_0084,
  FS_BASE = 0xc000_0100,
  GS_BASE = 0xc000_0101,
  KERNEL_GS_BASE = 0xc000_0102,
  TSC_AUX = 0xc000_0103,
}

/** Whether the MSR bitmap takes an access to L0; MSRs that it has no bit for always go there. */
function isIntercepted(cpu: Cpu, index: number, writes: number): boolean {
  if ((cpu.procControls & PROC_USE_MSR_BITMAPS) === 0) return true;
  const inHigh = index >= HIGH_RANGE;
  const number = inHigh ? index - HIGH_RANGE : index;
  if (number >= LOW_RANGE_END) return true;
  const page = entryAddress(cpu.v[MSR_BITMAP], cpu.v[MSR_BITMAP + 1]);
  const address = page + writes + (inHigh ? HIGH : 0) + (number >>> 3);
  cpu.observer?.vmcsAddressUse(MSR_BITMAP, address, true);
  return address >= cpu.memoryBytes || ((cpu.u8[address] >>> (number & 7)) & 1) === 1;
}

/** RDMSR. */
export const readMsrInstruction: Executor = (cpu, i) => {
  requireCpl0(cpu);
  const index = cpu.r[Slot.RCX] >>> 0;
  if (isIntercepted(cpu, index, 0)) {
    exitInstruction(cpu, i, Exit.MSR_READ);
    return;
  }
  if (!readOwn(cpu, index, i.position)) raiseGeneralProtection(cpu);
  writeRegister(cpu, Slot.RAX, 4, cpu.r[Slot.OPERAND], 0);
  writeRegister(cpu, Slot.RDX, 4, cpu.r[Slot.OPERAND + 1], 0);
};

/** WRMSR. */
export const writeMsrInstruction: Executor = (cpu, i) => {
  requireCpl0(cpu);
  const index = cpu.r[Slot.RCX] >>> 0;
  if (isIntercepted(cpu, index, WRITES)) {
    exitInstruction(cpu, i, Exit.MSR_WRITE);
    return;
  }
  if (!writeOwn(cpu, index, cpu.r[Slot.RAX], cpu.r[Slot.RDX], i.position)) raiseGeneralProtection(cpu);
};

function result(cpu: Cpu, low: number, high: number): boolean {
  cpu.r[Slot.OPERAND] = low;
  cpu.r[Slot.OPERAND + 1] = high;
  return true;
}

function fieldResult(cpu: Cpu, word: number): boolean {
  return result(cpu, cpu.v[word], cpu.v[word + 1]);
}

/** Reads a register into `Slot.OPERAND`; false: there is none. */
function readOwn(cpu: Cpu, index: number, position: number): boolean {
  if (index >= Msr.X2APIC_FIRST && index <= Msr.X2APIC_LAST) {
    return isX2apicVirtualized(cpu) && readX2apic(cpu, index);
  }
  switch (index) {
    case Msr.TIME_STAMP_COUNTER: {
      readTimeStamp(cpu, position);
      return true;
    }
    case Msr.SYSENTER_CS:
      return fieldResult(cpu, GUEST_SYSENTER_CS);
    case Msr.SYSENTER_ESP:
      return fieldResult(cpu, GUEST_SYSENTER_ESP);
    case Msr.SYSENTER_EIP:
      return fieldResult(cpu, GUEST_SYSENTER_EIP);
    case Msr.DEBUGCTL:
      return result(cpu, cpu.debugctlLow, cpu.debugctlHigh);
    case Msr.PAT:
      return result(cpu, cpu.patLow, cpu.patHigh);
    case Msr.EFER:
      return result(cpu, cpu.efer, 0);
    case Msr.FS_BASE:
      return fieldResult(cpu, GUEST_FS_BASE);
    case Msr.GS_BASE:
      return fieldResult(cpu, GUEST_GS_BASE);
    case Msr.STAR:
    case Msr.LSTAR:
    case Msr.CSTAR:
    case Msr.FMASK:
    case Msr.KERNEL_GS_BASE:
    case Msr.TSC_AUX:
      return result(cpu, cpu.msrs.low(index), cpu.msrs.high(index));
    default:
      return false;
  }
}

function setField(cpu: Cpu, word: number, low: number, high: number): boolean {
  cpu.v[word] = low;
  cpu.v[word + 1] = high;
  return true;
}

function setAddress(cpu: Cpu, word: number, low: number, high: number): boolean {
  return isCanonical(high) && setField(cpu, word, low, high);
}

/** False: no such register, or a value that it cannot hold. */
function writeOwn(cpu: Cpu, index: number, low: number, high: number, position: number): boolean {
  if (index >= Msr.X2APIC_FIRST && index <= Msr.X2APIC_LAST) {
    return isX2apicVirtualized(cpu) && writeX2apic(cpu, index, low, high);
  }
  switch (index) {
    case Msr.TIME_STAMP_COUNTER:
      cpu.tscSkew = (high >>> 0) * TWO_32 + (low >>> 0) - cpu.instructions - position;
      return true;
    case Msr.SYSENTER_CS:
      return setField(cpu, GUEST_SYSENTER_CS, low, 0);
    case Msr.SYSENTER_ESP:
      return setAddress(cpu, GUEST_SYSENTER_ESP, low, high);
    case Msr.SYSENTER_EIP:
      return setAddress(cpu, GUEST_SYSENTER_EIP, low, high);
    case Msr.DEBUGCTL:
      return writeDebugctl(cpu, low, high);
    case Msr.PAT:
      return writePat(cpu, low, high);
    case Msr.EFER:
      return writeEfer(cpu, low, high);
    case Msr.FS_BASE:
      return setAddress(cpu, GUEST_FS_BASE, low, high);
    case Msr.GS_BASE:
      return setAddress(cpu, GUEST_GS_BASE, low, high);
    case Msr.LSTAR:
    case Msr.CSTAR:
    case Msr.KERNEL_GS_BASE:
      if (!isCanonical(high)) return false;
      cpu.msrs.set(index, low, high);
      return true;
    case Msr.STAR:
      cpu.msrs.set(index, low, high);
      return true;
    case Msr.FMASK:
    case Msr.TSC_AUX:
      if (high !== 0) return false;
      cpu.msrs.set(index, low, high);
      return true;
    default:
      return false;
  }
}

/** LBR, BTF and the bits for branch traces are kept, and do nothing: not modeled. */
function writeDebugctl(cpu: Cpu, low: number, high: number): boolean {
  if (high !== 0 || (low & ~DEBUGCTL_WRITABLE) !== 0) return false;
  cpu.debugctlLow = low;
  return true;
}

/** Memory types 2 and 3 and those above 7 are reserved in each byte. */
function writePat(cpu: Cpu, low: number, high: number): boolean {
  for (const word of [low, high]) {
    if ((word & PAT_RESERVED) !== 0) return false;
    for (let shift = 0; shift < 32; shift += 8) {
      const type = (word >>> shift) & 7;
      if (type === 2 || type === 3) return false;
    }
  }
  cpu.patLow = low;
  cpu.patHigh = high;
  return true;
}

function writeEfer(cpu: Cpu, low: number, high: number): boolean {
  if (high !== 0 || (low & ~(EFER_WRITABLE | EFER_LMA)) !== 0) return false;
  const changed = low ^ cpu.efer;
  if ((changed & EFER_LME) !== 0 && (cpu.v[GUEST_CR0] & CR0_PG) !== 0) return false;
  cpu.efer = (low & EFER_WRITABLE) | (cpu.efer & EFER_LMA);
  if ((changed & EFER_NXE) !== 0) cpu.context.flush();
  updateMode(cpu);
  return true;
}

/** The guest's time-stamp counter, into `Slot.OPERAND`. */
export function readTimeStamp(cpu: Cpu, position: number): void {
  const value = cpu.timeStamp(position);
  let low = value % TWO_32;
  let high = Math.floor(value / TWO_32);
  if ((cpu.procControls & PROC_TSC_OFFSETTING) !== 0) {
    low += cpu.v[TSC_OFFSET];
    high += cpu.v[TSC_OFFSET + 1] + Math.floor(low / TWO_32);
  }
  cpu.r[Slot.OPERAND] = low;
  cpu.r[Slot.OPERAND + 1] = high;
}
