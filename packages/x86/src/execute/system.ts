import { field } from '@nvmx/vmx-fields';
import type { Cpu } from '../cpu.ts';
import { isCanonical, NO_ERROR_CODE, raise, raiseGeneralProtection, raiseUndefinedOpcode, Vector } from '../faults.ts';
import { writeArithmeticFlags } from '../flags.ts';
import type { Executor } from '../instruction.ts';
import { displacement, operandInformation, operandRegisterNumber, registerNumber } from '../instruction-information.ts';
import { load64 } from '../linear-memory.ts';
import { currentVpid } from '../mode.ts';
import { Slot } from '../slot.ts';
import { Exit, exitInstruction, exitWithInformation } from '../vm-exit.ts';
import { requireCpl0 } from './interrupts.ts';
import { Msr, readTimeStamp } from './msr.ts';
import { address, isMemory, load, readRegister, writeRegister } from './operands.ts';

const { GUEST_CR0, GUEST_CR4, GUEST_GS_BASE, GUEST_FS_BASE } = field;

const PROC_INVLPG = 0x200;
const PROC_MWAIT = 0x400;
const PROC_RDPMC = 0x800;
const PROC_RDTSC = 0x1000;
const PROC_MONITOR = 0x2000_0000;
const PROC_PAUSE = 0x4000_0000;
const SECONDARY_RDTSCP = 8;
const SECONDARY_WBINVD = 0x40;
const SECONDARY_RDRAND = 0x800;
const SECONDARY_INVPCID = 0x1000;
const SECONDARY_RDSEED = 0x1_0000;

const CR0_MP = 2;
const CR0_EM = 4;
const CR0_TS = 8;
const CR4_TSD = 4;
const CR4_PCE = 0x100;
const CR4_FSGSBASE = 0x1_0000;
const CR4_PCIDE = 0x2_0000;
const FLAG_CF = 1;
const REGISTER_1_SHIFT = 3;
const REGISTER_2_SHIFT = 28;
const SIZE_SHIFT = 11;

export const cpuid: Executor = (cpu, i) => exitInstruction(cpu, i, Exit.CPUID);

export const noOperation: Executor = () => {};

/** PAUSE. */
export const pause: Executor = (cpu, i) => {
  if ((cpu.procControls & PROC_PAUSE) !== 0) exitInstruction(cpu, i, Exit.PAUSE);
};

/** RDTSC. */
export const readTimeStampCounter: Executor = (cpu, i) => {
  requireTimeStamp(cpu);
  if ((cpu.procControls & PROC_RDTSC) !== 0) {
    exitInstruction(cpu, i, Exit.RDTSC);
    return;
  }
  readTimeStamp(cpu, i.position);
  writeRegister(cpu, Slot.RAX, 4, cpu.r[Slot.OPERAND], 0);
  writeRegister(cpu, Slot.RDX, 4, cpu.r[Slot.OPERAND + 1], 0);
};

function requireTimeStamp(cpu: Cpu): void {
  if (cpu.cpl !== 0 && (cpu.v[GUEST_CR4] & CR4_TSD) !== 0) raiseGeneralProtection(cpu);
}

/** RDTSCP. */
export const readTimeStampAndProcessor: Executor = (cpu, i) => {
  if ((cpu.secondaryControls & SECONDARY_RDTSCP) === 0) raiseUndefinedOpcode(cpu);
  requireTimeStamp(cpu);
  if ((cpu.procControls & PROC_RDTSC) !== 0) {
    exitInstruction(cpu, i, Exit.RDTSCP);
    return;
  }
  readTimeStamp(cpu, i.position);
  writeRegister(cpu, Slot.RAX, 4, cpu.r[Slot.OPERAND], 0);
  writeRegister(cpu, Slot.RDX, 4, cpu.r[Slot.OPERAND + 1], 0);
  writeRegister(cpu, Slot.RCX, 4, cpu.msrs.low(Msr.TSC_AUX), 0);
};

/** RDPID: exists together with RDTSCP. */
export const readProcessorId: Executor = (cpu, i) => {
  if ((cpu.secondaryControls & SECONDARY_RDTSCP) === 0) raiseUndefinedOpcode(cpu);
  writeRegister(cpu, i.rm, cpu.mode === 64 ? 8 : 4, cpu.msrs.low(Msr.TSC_AUX), 0);
};

/** RDPMC: there is no counter to read. */
export const readPerformanceCounter: Executor = (cpu, i) => {
  if (cpu.cpl !== 0 && (cpu.v[GUEST_CR4] & CR4_PCE) === 0) raiseGeneralProtection(cpu);
  if ((cpu.procControls & PROC_RDPMC) === 0) raiseGeneralProtection(cpu);
  exitInstruction(cpu, i, Exit.RDPMC);
};

/** INVLPG. */
export const invalidatePage: Executor = (cpu, i) => {
  requireCpl0(cpu);
  const low = address(cpu, i);
  const high = cpu.r[Slot.ADDRESS_HIGH];
  if ((cpu.procControls & PROC_INVLPG) !== 0) exitInstruction(cpu, i, Exit.INVLPG, low, high);
  else cpu.context.flushAddress(low, high);
};

/** INVPCID: the scope of every type is widened to all translations of the VPID, which is always allowed. */
export const invalidatePcid: Executor = (cpu, i) => {
  if ((cpu.secondaryControls & SECONDARY_INVPCID) === 0) raiseUndefinedOpcode(cpu);
  requireCpl0(cpu);
  const { r } = cpu;
  if ((cpu.procControls & PROC_INVLPG) !== 0) {
    const low = displacement(cpu, i);
    const information = operandInformation(i) | (registerNumber(i) << REGISTER_2_SHIFT);
    exitWithInformation(cpu, i, { reason: Exit.INVPCID, information, low, high: r[Slot.HIGH] });
    return;
  }
  const type = readRegister(cpu, i.reg, cpu.mode === 64 ? 8 : 4);
  const typeHigh = cpu.mode === 64 ? r[Slot.HIGH] : 0;
  const at = address(cpu, i);
  const atHigh = r[Slot.ADDRESS_HIGH];
  const pcid = load64(cpu, at, atHigh);
  const pcidHigh = r[Slot.HIGH];
  load(cpu, (at + 8) | 0, atHigh, 8);
  const addressHigh = r[Slot.HIGH];
  if (typeHigh !== 0 || type < 0 || type > 3) raiseGeneralProtection(cpu);
  if (type <= 1 && ((pcid & ~0xfff) !== 0 || pcidHigh !== 0)) raiseGeneralProtection(cpu);
  if (type <= 1 && pcid !== 0 && (cpu.v[GUEST_CR4] & CR4_PCIDE) === 0) raiseGeneralProtection(cpu);
  if (type === 0 && !isCanonical(addressHigh)) raiseGeneralProtection(cpu);
  cpu.tlbs.flushVpid(currentVpid(cpu));
};

export const invalidateCaches: Executor = (cpu, i) => {
  requireCpl0(cpu);
  exitInstruction(cpu, i, Exit.INVD);
};

/** WBINVD. */
export const writeBackCaches: Executor = (cpu, i) => {
  requireCpl0(cpu);
  if ((cpu.secondaryControls & SECONDARY_WBINVD) !== 0) exitInstruction(cpu, i, Exit.WBINVD);
};

/** MONITOR: the address is not watched, so that MWAIT returns at once. */
export const monitor: Executor = (cpu, i) => {
  if (cpu.cpl !== 0) raiseUndefinedOpcode(cpu);
  if ((cpu.procControls & PROC_MONITOR) !== 0) exitInstruction(cpu, i, Exit.MONITOR);
  else if (cpu.r[Slot.RCX] !== 0) raiseGeneralProtection(cpu);
};

export const monitorWait: Executor = (cpu, i) => {
  if (cpu.cpl !== 0) raiseUndefinedOpcode(cpu);
  if ((cpu.procControls & PROC_MWAIT) !== 0) exitInstruction(cpu, i, Exit.MWAIT);
};

/** RDRAND and RDSEED: a fixed sequence, so that a run can be repeated. `operation` 0: RDRAND, 1: RDSEED. */
export const readRandom: Executor = (cpu, i) => {
  const isSeed = i.operation === 1;
  const control = isSeed ? SECONDARY_RDSEED : SECONDARY_RDRAND;
  if ((cpu.secondaryControls & control) !== 0) {
    const size = i.width === 8 ? 2 : i.width === 4 ? 1 : 0;
    const information = (operandRegisterNumber(i) << REGISTER_1_SHIFT) | (size << SIZE_SHIFT);
    exitWithInformation(cpu, i, { reason: isSeed ? Exit.RDSEED : Exit.RDRAND, information });
    return;
  }
  const low = cpu.nextRandom();
  writeRegister(cpu, i.rm, i.width, low, cpu.nextRandom());
  writeArithmeticFlags(cpu.r, FLAG_CF);
};

/** SWAPGS. */
export const swapGs: Executor = (cpu) => {
  if (cpu.mode !== 64) raiseUndefinedOpcode(cpu);
  requireCpl0(cpu);
  const { v, msrs } = cpu;
  const low = msrs.low(Msr.KERNEL_GS_BASE);
  const high = msrs.high(Msr.KERNEL_GS_BASE);
  msrs.set(Msr.KERNEL_GS_BASE, v[GUEST_GS_BASE], v[GUEST_GS_BASE + 1]);
  v[GUEST_GS_BASE] = low;
  v[GUEST_GS_BASE + 1] = high;
};

/** RDFSBASE, RDGSBASE, WRFSBASE, WRGSBASE, numbered as ModRM.reg. */
export const accessSegmentBase: Executor = (cpu, i) => {
  if (cpu.mode !== 64 || (cpu.v[GUEST_CR4] & CR4_FSGSBASE) === 0) raiseUndefinedOpcode(cpu);
  const word = (i.operation & 1) === 0 ? GUEST_FS_BASE : GUEST_GS_BASE;
  if (i.operation < 2) {
    writeRegister(cpu, i.rm, i.width, cpu.v[word], cpu.v[word + 1]);
    return;
  }
  const low = readRegister(cpu, i.rm, i.width);
  const high = i.width === 8 ? cpu.r[Slot.HIGH] : 0;
  if (!isCanonical(high)) raiseGeneralProtection(cpu);
  cpu.v[word] = low;
  cpu.v[word + 1] = high;
};

/** FNOP: the only x87 instruction, for the device-not-available rules. */
export const floatingNoOperation: Executor = (cpu) => {
  if ((cpu.v[GUEST_CR0] & (CR0_EM | CR0_TS)) !== 0) raise(cpu, Vector.NM, NO_ERROR_CODE);
};

/** WAIT. */
export const waitForFloating: Executor = (cpu) => {
  if ((cpu.v[GUEST_CR0] & (CR0_MP | CR0_TS)) === (CR0_MP | CR0_TS)) raise(cpu, Vector.NM, NO_ERROR_CODE);
};

/** CLFLUSH and prefetches touch nothing that is modeled; the fences of a single thread do nothing. */
export const cacheHint: Executor = (cpu, i) => {
  if (!isMemory(i)) raiseUndefinedOpcode(cpu);
};
