import { field } from '@nvmx/vmx-fields';
import { Attention, type Cpu } from './cpu.ts';
import { raiseGeneralProtection } from './faults.ts';
import { entryAddress } from './paging.ts';
import { Slot } from './slot.ts';
import { Exit } from './vm-exit.ts';

/**
 * The virtual-APIC page as hardware uses it: at the address that the VMCS holds, with no translation.
 * Source: SDM volume 3, "APIC Virtualization and Virtual Interrupts".
 */
const { VIRTUAL_APIC_PAGE_ADDR, TPR_THRESHOLD, GUEST_INTR_STATUS, EOI_EXIT_BITMAP0 } = field;

const PROC_TPR_SHADOW = 0x20_0000;
const PROC_INTERRUPT_WINDOW = 4;
const SECONDARY_X2APIC_MODE = 0x10;
const SECONDARY_REGISTER_VIRTUALIZATION = 0x100;
const SECONDARY_INTERRUPT_DELIVERY = 0x200;

/** Offsets of the registers in the page. */
export const enum Apic {
  ID = 0x20,
  VERSION = 0x30,
  TPR = 0x80,
  PPR = 0xa0,
  EOI = 0xb0,
  ISR = 0x100,
  TMR = 0x180,
  IRR = 0x200,
  ESR = 0x280,
  ICR = 0x300,
  ICR_HIGH = 0x310,
  SELF_IPI = 0x3f0,
}

const MSR_TPR = 0x808;
const MSR_EOI = 0x80b;
const MSR_SELF_IPI = 0x83f;
const CLASS = 0xf0;
const VECTORS = 256;
const BITS = 32;
/** Bytes from one 32-bit register of a vector bitmap to the next. */
const REGISTER_STRIDE = 16;

/** Host-physical address of a register, told to the observer. */
function registerAddress(cpu: Cpu, offset: number): number {
  const { v } = cpu;
  const address = entryAddress(v[VIRTUAL_APIC_PAGE_ADDR], v[VIRTUAL_APIC_PAGE_ADDR + 1]) + offset;
  cpu.observer?.vmcsAddressUse(VIRTUAL_APIC_PAGE_ADDR, address, true);
  return address;
}

export function readApicRegister(cpu: Cpu, offset: number): number {
  const address = registerAddress(cpu, offset);
  return address < cpu.memoryBytes ? cpu.i32[address >>> 2] : -1;
}

export function writeApicRegister(cpu: Cpu, offset: number, value: number): void {
  const address = registerAddress(cpu, offset);
  if (address >= cpu.memoryBytes) return;
  cpu.i32[address >>> 2] = value;
  if (cpu.code.watched[Math.floor(address / 4096)] === 1) cpu.code.written(address, 4);
}

function setVectorBit(cpu: Cpu, registers: Apic, vector: number): void {
  const offset = registers + (vector >>> 5) * REGISTER_STRIDE;
  writeApicRegister(cpu, offset, readApicRegister(cpu, offset) | (1 << (vector & 31)));
}

function clearVectorBit(cpu: Cpu, registers: Apic, vector: number): void {
  const offset = registers + (vector >>> 5) * REGISTER_STRIDE;
  writeApicRegister(cpu, offset, readApicRegister(cpu, offset) & ~(1 << (vector & 31)));
}

/** The highest vector of a bitmap, 0 when it is empty. */
function highestVector(cpu: Cpu, registers: Apic): number {
  for (let n = VECTORS / BITS - 1; n >= 0; n--) {
    const word = readApicRegister(cpu, registers + n * REGISTER_STRIDE);
    if (word !== 0) return n * BITS + 31 - Math.clz32(word);
  }
  return 0;
}

function requestedVector(cpu: Cpu): number {
  return cpu.v[GUEST_INTR_STATUS] & 0xff;
}

function servicedVector(cpu: Cpu): number {
  return (cpu.v[GUEST_INTR_STATUS] >>> 8) & 0xff;
}

function setInterruptStatus(cpu: Cpu, requested: number, serviced: number): void {
  cpu.v[GUEST_INTR_STATUS] = requested | (serviced << 8);
}

export function deliversVirtualInterrupts(cpu: Cpu): boolean {
  return (cpu.secondaryControls & SECONDARY_INTERRUPT_DELIVERY) !== 0;
}

export function virtualizesRegisters(cpu: Cpu): boolean {
  return (cpu.secondaryControls & SECONDARY_REGISTER_VIRTUALIZATION) !== 0;
}

export function hasTprShadow(cpu: Cpu): boolean {
  return (cpu.procControls & PROC_TPR_SHADOW) !== 0;
}

/** VTPR, bits 7:0. */
export function readTaskPriority(cpu: Cpu): number {
  return readApicRegister(cpu, Apic.TPR) & 0xff;
}

/** Stores VTPR and virtualizes the change. */
export function writeTaskPriority(cpu: Cpu, value: number): void {
  writeApicRegister(cpu, Apic.TPR, value & 0xff);
  virtualizeTaskPriority(cpu);
}

/** TPR virtualization: a lower priority may let an interrupt in, or be below the threshold. */
export function virtualizeTaskPriority(cpu: Cpu): void {
  if (deliversVirtualInterrupts(cpu)) {
    virtualizeProcessorPriority(cpu);
    evaluatePending(cpu);
  } else if (isBelowThreshold(cpu)) exitAfterInstruction(cpu, Exit.TPR_BELOW_THRESHOLD, 0);
}

export function isBelowThreshold(cpu: Cpu): boolean {
  return readTaskPriority(cpu) >> 4 < (cpu.v[TPR_THRESHOLD] & 15);
}

/** The instruction completes, then the VM exit is taken. */
export function exitAfterInstruction(cpu: Cpu, reason: Exit, qualification: number): void {
  cpu.trapExitReason = reason;
  cpu.trapExitQualification = qualification;
  cpu.attention |= Attention.EVENT;
  cpu.blockEnd = 0;
}

export function virtualizeProcessorPriority(cpu: Cpu): void {
  const vtpr = readTaskPriority(cpu);
  const serviced = servicedVector(cpu);
  writeApicRegister(cpu, Apic.PPR, (vtpr & CLASS) >= (serviced & CLASS) ? vtpr : serviced & CLASS);
}

/** Recognizes a virtual interrupt when the requested one outranks the processor priority. */
export function evaluatePending(cpu: Cpu): void {
  const vppr = readApicRegister(cpu, Apic.PPR);
  cpu.virtualInterruptRecognized =
    (cpu.procControls & PROC_INTERRUPT_WINDOW) === 0 && (requestedVector(cpu) & CLASS) > (vppr & CLASS);
  if (!cpu.virtualInterruptRecognized) return;
  cpu.attention |= Attention.EVENT;
  cpu.blockEnd = 0;
}

/** Takes the recognized interrupt into service. Returns its vector, which the caller delivers. */
export function acceptVirtualInterrupt(cpu: Cpu): number {
  const vector = requestedVector(cpu);
  setVectorBit(cpu, Apic.ISR, vector);
  writeApicRegister(cpu, Apic.PPR, vector & CLASS);
  clearVectorBit(cpu, Apic.IRR, vector);
  setInterruptStatus(cpu, highestVector(cpu, Apic.IRR), vector);
  cpu.virtualInterruptRecognized = false;
  return vector;
}

/** EOI virtualization: the next vector in service, and the exit that the EOI-exit bitmap asks for. */
export function virtualizeEoi(cpu: Cpu): void {
  const vector = servicedVector(cpu);
  clearVectorBit(cpu, Apic.ISR, vector);
  setInterruptStatus(cpu, requestedVector(cpu), highestVector(cpu, Apic.ISR));
  virtualizeProcessorPriority(cpu);
  const bitmap = cpu.v[EOI_EXIT_BITMAP0 + (vector >>> 5)];
  if (((bitmap >>> (vector & 31)) & 1) === 1) exitAfterInstruction(cpu, Exit.EOI_INDUCED, vector);
  else evaluatePending(cpu);
}

/** Self-IPI virtualization. */
export function virtualizeSelfIpi(cpu: Cpu, vector: number): void {
  setVectorBit(cpu, Apic.IRR, vector);
  setInterruptStatus(cpu, Math.max(requestedVector(cpu), vector), servicedVector(cpu));
  evaluatePending(cpu);
}

/** Adds posted vectors, one 32-bit word of them, to VIRR. */
export function postVectors(cpu: Cpu, word: number, bits: number): void {
  const offset = Apic.IRR + word * REGISTER_STRIDE;
  writeApicRegister(cpu, offset, readApicRegister(cpu, offset) | bits);
  const highest = word * BITS + 31 - Math.clz32(bits);
  setInterruptStatus(cpu, Math.max(requestedVector(cpu), highest), servicedVector(cpu));
}

export function isX2apicVirtualized(cpu: Cpu): boolean {
  return (cpu.secondaryControls & SECONDARY_X2APIC_MODE) !== 0;
}

/** RDMSR of 0x800..0x8ff into `Slot.OPERAND`; false: not virtualized. */
export function readX2apic(cpu: Cpu, index: number): boolean {
  if (index !== MSR_TPR && !virtualizesRegisters(cpu)) return false;
  const offset = (index & 0xff) << 4;
  cpu.r[Slot.OPERAND] = readApicRegister(cpu, offset);
  cpu.r[Slot.OPERAND + 1] = readApicRegister(cpu, offset + 4);
  return true;
}

/** WRMSR of 0x800..0x8ff; false: not virtualized, or a value that the register refuses. */
export function writeX2apic(cpu: Cpu, index: number, low: number, high: number): boolean {
  const reserved = high !== 0 || (low & ~0xff) !== 0;
  if (index === MSR_TPR) {
    if (reserved) raiseGeneralProtection(cpu);
    writeTaskPriority(cpu, low);
    return true;
  }
  if (!deliversVirtualInterrupts(cpu)) return false;
  if (index === MSR_EOI) {
    if (high !== 0 || low !== 0) raiseGeneralProtection(cpu);
    writeApicRegister(cpu, Apic.EOI, 0);
    virtualizeEoi(cpu);
    return true;
  }
  if (index !== MSR_SELF_IPI) return false;
  if (reserved) raiseGeneralProtection(cpu);
  writeApicRegister(cpu, Apic.SELF_IPI, low);
  virtualizeSelfIpi(cpu, low & 0xff);
  return true;
}
