import { type Cpu, Exiting, UNWIND } from './cpu.ts';
import { Slot } from './slot.ts';
import {
  Apic,
  deliversVirtualInterrupts,
  exitAfterInstruction,
  hasTprShadow,
  readApicRegister,
  virtualizeEoi,
  virtualizeSelfIpi,
  virtualizesRegisters,
  virtualizeTaskPriority,
  writeApicRegister,
} from './virtual-apic.ts';
import { Exit, recordExit } from './vm-exit.ts';

/**
 * Accesses to the APIC-access page: virtualized into the virtual-APIC page, or an APIC-access VM exit.
 * Source: SDM volume 3, "Virtualizing Memory-Mapped APIC Accesses".
 */

/** Qualification bits 15:12. */
const enum AccessType {
  READ = 0,
  WRITE = 0x1000,
  FETCH = 0x2000,
  EVENT = 0x3000,
}

const BYTES_MAX = 4;
const REGION_OFFSET = 15;
const LVT_FIRST = 0x320;
const LVT_LAST = 0x370;
const TIMER_INITIAL = 0x380;
const TIMER_DIVIDE = 0x3e0;
/** ICR bits that must be 0 for a self-IPI: 31:20, 17:16, 15, 13, 12 and 10:8. */
const ICR_MUST_BE_ZERO = 0xfff3_b700 | 0;
const ICR_SHORTHAND = 0xc_0000;
const ICR_SELF = 0x4_0000;

export function exitForApicPage(cpu: Cpu, offset: number, type: AccessType): never {
  recordExit(cpu, Exit.APIC_ACCESS, offset | (cpu.deliveringInfo !== 0 ? AccessType.EVENT : type), 0);
  cpu.exiting = Exiting.INSTRUCTION;
  throw UNWIND;
}

export function exitForApicFetch(cpu: Cpu, offset: number): never {
  exitForApicPage(cpu, offset, AccessType.FETCH);
}

/** A load from the page. `isUpdate`: the read half of a read-modify-write, which exits as a write. */
export function apicRead(cpu: Cpu, offset: number, bytes: number, isUpdate = false): number {
  if (!isContained(offset, bytes) || !hasTprShadow(cpu) || !isReadVirtualized(cpu, offset & ~REGION_OFFSET)) {
    exitForApicPage(cpu, offset, isUpdate ? AccessType.WRITE : AccessType.READ);
  }
  const value = readApicRegister(cpu, offset & ~3) >>> (8 * (offset & 3));
  cpu.r[Slot.HIGH] = 0;
  return bytes === BYTES_MAX ? value | 0 : value & (2 ** (8 * bytes) - 1);
}

export function apicWrite(
  cpu: Cpu,
  o: { readonly offset: number; readonly bytes: number; readonly low: number },
): void {
  const { offset, bytes } = o;
  const register = offset & ~REGION_OFFSET;
  if (!isContained(offset, bytes) || !hasTprShadow(cpu) || !isWriteVirtualized(cpu, register)) {
    exitForApicPage(cpu, offset, AccessType.WRITE);
  }
  const shift = 8 * (offset & 3);
  const mask = bytes === BYTES_MAX ? -1 : (2 ** (8 * bytes) - 1) << shift;
  const value = (readApicRegister(cpu, register) & ~mask) | ((o.low << shift) & mask);
  writeApicRegister(cpu, register, value);
  emulateWrite(cpu, register, value);
}

/** At most 4 bytes, inside the low 4 bytes of a 16-byte region. */
function isContained(offset: number, bytes: number): boolean {
  return bytes <= BYTES_MAX && (offset & REGION_OFFSET) + bytes <= BYTES_MAX;
}

function isInterruptRegister(cpu: Cpu, register: number): boolean {
  return deliversVirtualInterrupts(cpu) && (register === Apic.EOI || register === Apic.ICR);
}

function isReadVirtualized(cpu: Cpu, register: number): boolean {
  if (register === Apic.TPR || isInterruptRegister(cpu, register)) return true;
  if (!virtualizesRegisters(cpu)) return false;
  if (register === Apic.ID || register === Apic.VERSION || isWritable(register)) return true;
  return register >= Apic.ISR && register < Apic.ESR;
}

function isWriteVirtualized(cpu: Cpu, register: number): boolean {
  if (register === Apic.TPR || isInterruptRegister(cpu, register)) return true;
  return virtualizesRegisters(cpu) && (register === Apic.ID || isWritable(register));
}

/** EOI, LDR, DFR, SVR, ESR, ICR, LVT, timer: what APIC-register virtualization takes as writes, except ID and TPR. */
function isWritable(register: number): boolean {
  switch (register) {
    case Apic.EOI:
    case 0xd0:
    case 0xe0:
    case 0xf0:
    case Apic.ESR:
    case Apic.ICR:
    case Apic.ICR_HIGH:
    case TIMER_INITIAL:
    case TIMER_DIVIDE:
      return true;
    default:
      return register >= LVT_FIRST && register <= LVT_LAST;
  }
}

/** APIC-write emulation: what follows the store when the instruction has completed. */
function emulateWrite(cpu: Cpu, register: number, value: number): void {
  switch (register) {
    case Apic.TPR:
      writeApicRegister(cpu, Apic.TPR, value & 0xff);
      virtualizeTaskPriority(cpu);
      return;
    case Apic.EOI:
      if (!deliversVirtualInterrupts(cpu)) break;
      writeApicRegister(cpu, Apic.EOI, 0);
      virtualizeEoi(cpu);
      return;
    case Apic.ICR:
      if (!deliversVirtualInterrupts(cpu) || !isSelfIpi(value)) break;
      virtualizeSelfIpi(cpu, value & 0xff);
      return;
    case Apic.ICR_HIGH:
      writeApicRegister(cpu, Apic.ICR_HIGH, value & 0xff00_0000);
      return;
    default:
  }
  exitAfterInstruction(cpu, Exit.APIC_WRITE, register);
}

/** Fixed, edge-triggered, to self, with a legal vector. */
function isSelfIpi(value: number): boolean {
  return (value & ICR_MUST_BE_ZERO) === 0 && (value & ICR_SHORTHAND) === ICR_SELF && (value & 0xf0) !== 0;
}
