import { field } from '@nvmx/vmx-fields';
import type { Cpu } from '../cpu.ts';
import { NO_ERROR_CODE, raise, raiseGeneralProtection, raiseUndefinedOpcode, Vector } from '../faults.ts';
import type { Executor, Instruction } from '../instruction.ts';
import { operandRegisterNumber, registerNumber } from '../instruction-information.ts';
import { selectContext, updateMode } from '../mode.ts';
import { reservedHighMask } from '../paging.ts';
import { loadPdptes } from '../pdptes.ts';
import { Rights, rightsOf, Segment } from '../segments.ts';
import { Slot } from '../slot.ts';
import { readTaskPriority, writeTaskPriority } from '../virtual-apic.ts';
import { Exit, exitInstruction, setLinearAddress } from '../vm-exit.ts';
import { requireNoUmip } from './descriptor-tables.ts';
import { requireCpl0 } from './interrupts.ts';
import { address, isMemory, readOperand, writeOperand, writeRegister } from './operands.ts';

const {
  GUEST_CR0,
  GUEST_CR3,
  GUEST_CR4,
  CR0_GUEST_HOST_MASK,
  CR4_GUEST_HOST_MASK,
  CR0_READ_SHADOW,
  CR4_READ_SHADOW,
  CR3_TARGET_COUNT,
  CR3_TARGET_VALUE0,
} = field;

const PROC_CR3_LOAD = 0x8000;
const PROC_CR3_STORE = 0x1_0000;
const PROC_CR8_LOAD = 0x8_0000;
const PROC_CR8_STORE = 0x10_0000;
const PROC_TPR_SHADOW = 0x20_0000;
const PROC_MOV_DR = 0x80_0000;
const SECONDARY_UNRESTRICTED = 0x80;

const CR0_PE = 1;
const CR0_TS = 8;
const CR0_ET = 0x10;
const CR0_NE = 0x20;
const CR0_NW = 0x2000_0000;
const CR0_CD = 0x4000_0000;
const CR0_PG = 0x8000_0000 | 0;
/** PE, MP, EM, TS, ET, NE, WP, AM, NW, CD, PG. */
const CR0_DEFINED = 0xe005_003f | 0;
const CR4_PAE = 0x20;
const CR4_VMXE = 0x2000;
const CR4_PCIDE = 0x2_0000;
/** VME..OSXMMEXCPT, UMIP, VMXE, FSGSBASE, PCIDE, SMEP, SMAP: what this processor has. */
export const CR4_SUPPORTED = 0x33_2fff;
const CR4_FLUSHES = 0x32_00b0;
const CR4_DE = 8;
const EFER_LME = 0x100;
const EFER_LMA = 0x400;
const DR7_GD = 0x2000;
const DR7_ALWAYS = 0x400;
const DR7_RESERVED = 0xd800;
const DR6_ALWAYS = 0xffff_0ff0 | 0;
const DR6_WRITABLE = 0xe00f;
const DR6 = 6;
const DR7 = 7;
const DEBUG_STATUS = 12;
const DEBUG_CONTROL = 14;
const PENDING_BD = 0x2000;

const TYPE_FROM = 1 << 4;
const TYPE_CLTS = 2 << 4;
const TYPE_LMSW = 3 << 4;
const LMSW_MEMORY = 1 << 6;
const GPR_SHIFT = 8;
const PCID_MASK = 0xfff;

/** A control register as the guest reads it: bits that the mask gives to the host come from the read shadow. */
function shadowed(cpu: Cpu, guest: number, mask: number, shadow: number): number {
  return (cpu.v[guest] & ~cpu.v[mask]) | (cpu.v[shadow] & cpu.v[mask]);
}

function visibleCr0(cpu: Cpu): number {
  return shadowed(cpu, GUEST_CR0, CR0_GUEST_HOST_MASK, CR0_READ_SHADOW);
}

/** MOV Rd,Cd. */
export const moveFromControl: Executor = (cpu, i) => {
  const number = registerNumber(i);
  requireControlRegister(cpu, number);
  requireCpl0(cpu);
  const qualification = number | TYPE_FROM | (operandRegisterNumber(i) << GPR_SHIFT);
  const { v } = cpu;
  switch (number) {
    case 0:
      return writeRegister(cpu, i.rm, i.width, visibleCr0(cpu), v[GUEST_CR0 + 1]);
    case 2:
      return writeRegister(cpu, i.rm, i.width, cpu.cr2Low, cpu.cr2High);
    case 3:
      if ((cpu.procControls & PROC_CR3_STORE) !== 0) return exitInstruction(cpu, i, Exit.CR_ACCESS, qualification);
      return writeRegister(cpu, i.rm, i.width, v[GUEST_CR3], v[GUEST_CR3 + 1]);
    case 4: {
      const value = shadowed(cpu, GUEST_CR4, CR4_GUEST_HOST_MASK, CR4_READ_SHADOW);
      return writeRegister(cpu, i.rm, i.width, value, v[GUEST_CR4 + 1]);
    }
    default:
      if ((cpu.procControls & PROC_CR8_STORE) !== 0) return exitInstruction(cpu, i, Exit.CR_ACCESS, qualification);
      return writeRegister(cpu, i.rm, i.width, readCr8(cpu), 0);
  }
};

function readCr8(cpu: Cpu): number {
  return (cpu.procControls & PROC_TPR_SHADOW) !== 0 ? readTaskPriority(cpu) >> 4 : cpu.cr8;
}

function requireControlRegister(cpu: Cpu, number: number): void {
  const exists = number === 0 || (number >= 2 && number <= 4) || (number === 8 && cpu.mode === 64);
  if (!exists) raiseUndefinedOpcode(cpu);
}

/** MOV Cd,Rd. */
export const moveToControl: Executor = (cpu, i) => {
  const number = registerNumber(i);
  requireControlRegister(cpu, number);
  requireCpl0(cpu);
  const low = cpu.r[i.rm];
  const high = i.width === 8 ? cpu.r[i.rm + 1] : 0;
  switch (number) {
    case 0:
      return moveToCr0(cpu, i, low, high);
    case 2:
      cpu.cr2Low = low;
      cpu.cr2High = high;
      return;
    case 3:
      return moveToCr3(cpu, i, low, high);
    case 4:
      return moveToCr4(cpu, i, low, high);
    default:
      return moveToCr8(cpu, i, low, high);
  }
};

function qualificationOf(i: Instruction): number {
  return registerNumber(i) | (operandRegisterNumber(i) << GPR_SHIFT);
}

function moveToCr0(cpu: Cpu, i: Instruction, low: number, high: number): void {
  const { v } = cpu;
  const mask = v[CR0_GUEST_HOST_MASK];
  if ((mask & (low ^ v[CR0_READ_SHADOW])) !== 0) {
    exitInstruction(cpu, i, Exit.CR_ACCESS, qualificationOf(i));
    return;
  }
  if (high !== 0) raiseGeneralProtection(cpu);
  setCr0(cpu, (v[GUEST_CR0] & mask) | (low & ~mask));
}

function setCr0(cpu: Cpu, wanted: number): void {
  const { v } = cpu;
  const old = v[GUEST_CR0];
  const value = (wanted & CR0_DEFINED) | CR0_ET;
  const unrestricted = (cpu.secondaryControls & SECONDARY_UNRESTRICTED) !== 0;
  const fixed = unrestricted ? CR0_NE : CR0_NE | CR0_PE | CR0_PG;
  if ((value & fixed) !== fixed) raiseGeneralProtection(cpu);
  if ((value & CR0_PG) !== 0 && (value & CR0_PE) === 0) raiseGeneralProtection(cpu);
  if ((value & CR0_NW) !== 0 && (value & CR0_CD) === 0) raiseGeneralProtection(cpu);
  if (((value ^ old) & CR0_PG) !== 0) changePaging(cpu, (value & CR0_PG) !== 0);
  v[GUEST_CR0] = value;
  cpu.context.flush();
  updateMode(cpu);
}

/** CR0.PG switches IA-32e mode together with EFER.LME. */
function changePaging(cpu: Cpu, enable: boolean): void {
  const cr4 = cpu.v[GUEST_CR4];
  const longCode = (rightsOf(cpu, Segment.CS) & Rights.LONG) !== 0;
  if (!enable) {
    if (cpu.mode === 64 || (cr4 & CR4_PCIDE) !== 0) raiseGeneralProtection(cpu);
    cpu.efer &= ~EFER_LMA;
    return;
  }
  if ((cpu.efer & EFER_LME) !== 0) {
    if ((cr4 & CR4_PAE) === 0 || longCode) raiseGeneralProtection(cpu);
    cpu.efer |= EFER_LMA;
  } else if ((cr4 & CR4_PAE) !== 0) loadPdptes(cpu, cpu.v[GUEST_CR3]);
}

function moveToCr3(cpu: Cpu, i: Instruction, low: number, high: number): void {
  const { v } = cpu;
  if ((cpu.procControls & PROC_CR3_LOAD) !== 0 && !isCr3Target(cpu, low, high)) {
    exitInstruction(cpu, i, Exit.CR_ACCESS, qualificationOf(i));
    return;
  }
  const pcids = (v[GUEST_CR4] & CR4_PCIDE) !== 0;
  const keep = pcids && high < 0;
  const value = keep ? high & 0x7fff_ffff : high;
  if ((cpu.efer & EFER_LMA) !== 0) {
    if ((value & (reservedHighMask(cpu.physicalAddressBits) | 0xfff0_0000)) !== 0) raiseGeneralProtection(cpu);
  } else if ((v[GUEST_CR4] & CR4_PAE) !== 0 && (v[GUEST_CR0] & CR0_PG) !== 0) loadPdptes(cpu, low);
  v[GUEST_CR3] = low;
  v[GUEST_CR3 + 1] = value;
  selectContext(cpu);
  if (!keep) cpu.context.flush();
  updateMode(cpu);
}

function isCr3Target(cpu: Cpu, low: number, high: number): boolean {
  const { v } = cpu;
  const count = v[CR3_TARGET_COUNT];
  for (let n = 0; n < count && n < 4; n++) {
    const word = CR3_TARGET_VALUE0 + 2 * n;
    if ((v[word] | 0) === low && (v[word + 1] | 0) === high) return true;
  }
  return false;
}

function moveToCr4(cpu: Cpu, i: Instruction, low: number, high: number): void {
  const { v } = cpu;
  const mask = v[CR4_GUEST_HOST_MASK];
  if ((mask & (low ^ v[CR4_READ_SHADOW])) !== 0) {
    exitInstruction(cpu, i, Exit.CR_ACCESS, qualificationOf(i));
    return;
  }
  const old = v[GUEST_CR4];
  const value = (old & mask) | (low & ~mask);
  const longMode = (cpu.efer & EFER_LMA) !== 0;
  if (high !== 0 || (value & ~CR4_SUPPORTED) !== 0 || (value & CR4_VMXE) === 0) raiseGeneralProtection(cpu);
  if (longMode && (value & CR4_PAE) === 0) raiseGeneralProtection(cpu);
  if ((value & ~old & CR4_PCIDE) !== 0 && (!longMode || (v[GUEST_CR3] & PCID_MASK) !== 0)) raiseGeneralProtection(cpu);
  const changed = value ^ old;
  if (!longMode && (v[GUEST_CR0] & CR0_PG) !== 0 && (value & CR4_PAE) !== 0 && (changed & CR4_FLUSHES) !== 0) {
    loadPdptes(cpu, v[GUEST_CR3]);
  }
  v[GUEST_CR4] = value;
  selectContext(cpu);
  if ((changed & CR4_FLUSHES) !== 0) cpu.context.flush();
  updateMode(cpu);
}

function moveToCr8(cpu: Cpu, i: Instruction, low: number, high: number): void {
  if ((cpu.procControls & PROC_CR8_LOAD) !== 0) {
    exitInstruction(cpu, i, Exit.CR_ACCESS, qualificationOf(i));
    return;
  }
  if (high !== 0 || (low & ~15) !== 0) raiseGeneralProtection(cpu);
  if ((cpu.procControls & PROC_TPR_SHADOW) !== 0) writeTaskPriority(cpu, low << 4);
  else cpu.cr8 = low;
}

/** CLTS. */
export const clearTaskSwitched: Executor = (cpu, i) => {
  requireCpl0(cpu);
  const { v } = cpu;
  const owned = (v[CR0_GUEST_HOST_MASK] & CR0_TS) !== 0;
  if (!owned) v[GUEST_CR0] &= ~CR0_TS;
  else if ((v[CR0_READ_SHADOW] & CR0_TS) !== 0) exitInstruction(cpu, i, Exit.CR_ACCESS, TYPE_CLTS);
};

/** LMSW: bits 3:1 of CR0, and PE to 1. */
export const loadMachineStatus: Executor = (cpu, i) => {
  requireCpl0(cpu);
  const { v } = cpu;
  const source = readOperand(cpu, i, 2) & 0xffff;
  const mask = v[CR0_GUEST_HOST_MASK];
  const shadow = v[CR0_READ_SHADOW];
  const setsPe = (mask & source & ~shadow & CR0_PE) !== 0;
  if (setsPe || (mask & (source ^ shadow) & 0xe) !== 0) {
    const memory = isMemory(i);
    if (memory) setLinearAddress(cpu, address(cpu, i), cpu.r[Slot.ADDRESS_HIGH]);
    exitInstruction(cpu, i, Exit.CR_ACCESS, TYPE_LMSW | (memory ? LMSW_MEMORY : 0) | (source << 16));
    return;
  }
  const old = v[GUEST_CR0];
  const changed = 0xe & ~mask;
  setCr0(cpu, (old & ~changed) | (source & changed) | (source & CR0_PE & ~mask));
};

/** SMSW. */
export const storeMachineStatus: Executor = (cpu, i) => {
  requireNoUmip(cpu);
  const value = visibleCr0(cpu);
  if (isMemory(i)) writeOperand(cpu, i, 2, value, 0);
  else writeRegister(cpu, i.rm, i.width, value, 0);
};

/** MOV Rd,Dd. */
export const moveFromDebug: Executor = (cpu, i) => {
  const number = debugRegister(cpu, i);
  if (takesDebugExit(cpu, i, number, TYPE_FROM)) return;
  const d = cpu.debugRegisters;
  if (number === DR6) writeRegister(cpu, i.rm, i.width, d[DEBUG_STATUS] | DR6_ALWAYS, 0);
  else writeRegister(cpu, i.rm, i.width, d[2 * number], d[2 * number + 1]);
};

/** MOV Dd,Rd. Breakpoints are kept, and do not match: not modeled. */
export const moveToDebug: Executor = (cpu, i) => {
  const number = debugRegister(cpu, i);
  if (takesDebugExit(cpu, i, number, 0)) return;
  const low = cpu.r[i.rm];
  const high = i.width === 8 ? cpu.r[i.rm + 1] : 0;
  const d = cpu.debugRegisters;
  if (number >= DR6 && high !== 0) raiseGeneralProtection(cpu);
  if (number === DR7) {
    d[DEBUG_CONTROL] = (low & ~DR7_RESERVED) | DR7_ALWAYS;
  } else if (number === DR6) d[DEBUG_STATUS] = low & DR6_WRITABLE;
  else {
    d[2 * number] = low;
    d[2 * number + 1] = high;
  }
};

/** Number of the debug register, with DR4 and DR5 as the old names of DR6 and DR7. */
function debugRegister(cpu: Cpu, i: Instruction): number {
  const number = registerNumber(i);
  if (number > DR7) raiseUndefinedOpcode(cpu);
  const alias = number === 4 || number === 5;
  if (alias && (cpu.v[GUEST_CR4] & CR4_DE) !== 0) raiseUndefinedOpcode(cpu);
  requireCpl0(cpu);
  return alias ? number + 2 : number;
}

/** The VM exit comes before the #DB of general detection. */
function takesDebugExit(cpu: Cpu, i: Instruction, number: number, direction: number): boolean {
  if ((cpu.procControls & PROC_MOV_DR) !== 0) {
    exitInstruction(cpu, i, Exit.DR_ACCESS, number | direction | (operandRegisterNumber(i) << GPR_SHIFT));
    return true;
  }
  if ((cpu.debugRegisters[DEBUG_CONTROL] & DR7_GD) === 0) return false;
  raiseGeneralDetect(cpu);
}

/** A #DB fault: its cause is pending until it is delivered. */
function raiseGeneralDetect(cpu: Cpu): never {
  cpu.pendingDebug |= PENDING_BD;
  raise(cpu, Vector.DB, NO_ERROR_CODE);
}
