import {
  crAccessType,
  exitReason,
  field,
  interruptionType,
  ioAccess,
  type MsrAccess,
  msrBitmapBit,
  procBased,
  secondary,
} from '@nvmx/vmx-fields';
import { RCX } from '@nvmx/x86';
import { hasProc, hasSecondary } from '../controls.ts';
import { decodeCrAccess, requestedCr0 } from '../exits/control-registers.ts';
import { typeOf } from '../vcpu/event-info.ts';
import { l1Intercepts } from '../vcpu/events.ts';
import { readRegister } from '../vcpu/guest-registers.ts';
import type { Vcpu } from '../vcpu/vcpu.ts';
import { readAsL2 } from './vmcs02.ts';

type Intercept = (vcpu: Vcpu) => boolean;

const always: Intercept = () => true;
const never: Intercept = () => false;
const whenProc =
  (mask: number): Intercept =>
  (vcpu) =>
    hasProc(vcpu.nested.vmcs12, mask);
const whenSecondary =
  (mask: number): Intercept =>
  (vcpu) =>
    hasSecondary(vcpu.nested.vmcs12, mask);

/**
 * Which exits of L2 are L1's (nested_vmx_l1_wants_exit()), by basic exit reason. EPT exits are L0's at first: it reflects
 * those that L1's own EPT causes. A reason without a row is L1's.
 */
const intercepts: ReadonlyMap<number, Intercept> = new Map<number, Intercept>([
  [exitReason.EXCEPTION_NMI, l1WantsException],
  [exitReason.EXTERNAL_INTERRUPT, never],
  [exitReason.INTERRUPT_WINDOW, whenProc(procBased.CPU_BASED_INTR_WINDOW_EXITING)],
  [exitReason.HLT, whenProc(procBased.CPU_BASED_HLT_EXITING)],
  [exitReason.INVLPG, whenProc(procBased.CPU_BASED_INVLPG_EXITING)],
  [exitReason.RDPMC, whenProc(procBased.CPU_BASED_RDPMC_EXITING)],
  [exitReason.RDTSC, whenProc(procBased.CPU_BASED_RDTSC_EXITING)],
  [exitReason.RDTSCP, whenProc(procBased.CPU_BASED_RDTSC_EXITING)],
  [exitReason.CR_ACCESS, l1WantsCrAccess],
  [exitReason.DR_ACCESS, whenProc(procBased.CPU_BASED_MOV_DR_EXITING)],
  [exitReason.IO_INSTRUCTION, l1WantsIo],
  [exitReason.MSR_READ, (vcpu) => l1WantsMsr(vcpu, 'read')],
  [exitReason.MSR_WRITE, (vcpu) => l1WantsMsr(vcpu, 'write')],
  [exitReason.MWAIT_INSTRUCTION, whenProc(procBased.CPU_BASED_MWAIT_EXITING)],
  [exitReason.MONITOR_INSTRUCTION, whenProc(procBased.CPU_BASED_MONITOR_EXITING)],
  [exitReason.PAUSE_INSTRUCTION, whenProc(procBased.CPU_BASED_PAUSE_EXITING)],
  [exitReason.TPR_BELOW_THRESHOLD, whenProc(procBased.CPU_BASED_TPR_SHADOW)],
  [exitReason.GDTR_IDTR, whenSecondary(secondary.SECONDARY_EXEC_DESC)],
  [exitReason.LDTR_TR, whenSecondary(secondary.SECONDARY_EXEC_DESC)],
  [exitReason.WBINVD, whenSecondary(secondary.SECONDARY_EXEC_WBINVD_EXITING)],
  [exitReason.EPT_VIOLATION, never],
  [exitReason.EPT_MISCONFIG, never],
]);

/** Whether L1 has to see the exit that L2 just took. */
export function l1WantsExit(vcpu: Vcpu, reason: number): boolean {
  return (intercepts.get(reason & 0xffff) ?? always)(vcpu);
}

/** NMIs are L0's; for exceptions vmcs12 decides. */
function l1WantsException(vcpu: Vcpu): boolean {
  const info = vcpu.vmcs.read32(field.VM_EXIT_INTR_INFO);
  if (typeOf(info) === interruptionType.NMI) return false;
  return l1Intercepts(vcpu, { info, errorCode: vcpu.vmcs.read32(field.VM_EXIT_INTR_ERROR_CODE) });
}

function l1WantsCrAccess(vcpu: Vcpu): boolean {
  const { vmcs12 } = vcpu.nested;
  const access = decodeCrAccess(vcpu.vmcs.read32(field.EXIT_QUALIFICATION));
  const isRead = access.type === crAccessType.MOV_FROM;
  switch (access.number) {
    case 0: {
      const mask = vmcs12.read32(field.CR0_GUEST_HOST_MASK);
      const shadow = vmcs12.read32(field.CR0_READ_SHADOW);
      const current = readAsL2({ value: vcpu.vmcs.read32(field.GUEST_CR0), mask, shadow });
      const value = requestedCr0({ access, source: sourceLow(vcpu, access.register), current });
      return (mask & (value ^ shadow)) !== 0;
    }
    case 3:
      return hasProc(vmcs12, isRead ? procBased.CPU_BASED_CR3_STORE_EXITING : procBased.CPU_BASED_CR3_LOAD_EXITING);
    case 4: {
      const value = sourceLow(vcpu, access.register);
      return (vmcs12.read32(field.CR4_GUEST_HOST_MASK) & (value ^ vmcs12.read32(field.CR4_READ_SHADOW))) !== 0;
    }
    case 8:
      return hasProc(vmcs12, isRead ? procBased.CPU_BASED_CR8_STORE_EXITING : procBased.CPU_BASED_CR8_LOAD_EXITING);
    default:
      return true;
  }
}

function sourceLow(vcpu: Vcpu, register: number): number {
  return Number(readRegister({ registers: vcpu.processor.registers, vmcs: vcpu.vmcs }, register) & 0xffff_ffffn);
}

/** L1's I/O bitmaps are read byte by byte when an exit has to be decided; a range past port 0xffff is L1's. */
function l1WantsIo(vcpu: Vcpu): boolean {
  const { vmcs12 } = vcpu.nested;
  if (!hasProc(vmcs12, procBased.CPU_BASED_USE_IO_BITMAPS)) {
    return hasProc(vmcs12, procBased.CPU_BASED_UNCOND_IO_EXITING);
  }
  const qualification = vcpu.vmcs.read32(field.EXIT_QUALIFICATION);
  const port = qualification >>> 16;
  const bytes = (qualification & ioAccess.SIZE) + 1;
  if (port + bytes > 0x1_0000) return true;
  for (let n = port; n < port + bytes; n++) {
    const bitmap = vmcs12.readAddress(n < 0x8000 ? field.IO_BITMAP_A : field.IO_BITMAP_B);
    if (bitIsSet(vcpu, bitmap, n & 0x7fff)) return true;
  }
  return false;
}

function l1WantsMsr(vcpu: Vcpu, access: MsrAccess): boolean {
  const { vmcs12 } = vcpu.nested;
  if (!hasProc(vmcs12, procBased.CPU_BASED_USE_MSR_BITMAPS)) return true;
  const bit = msrBitmapBit(vcpu.processor.registers.low(RCX) >>> 0, access);
  return bit < 0 || bitIsSet(vcpu, vmcs12.readAddress(field.MSR_BITMAP), bit);
}

/** A byte that L0 cannot read means: exit to L1. */
function bitIsSet(vcpu: Vcpu, bitmap: number, bit: number): boolean {
  const byte = new Uint8Array(1);
  if (!vcpu.memory.copyFrom(bitmap + (bit >>> 3), byte)) return true;
  return ((byte[0] >>> (bit & 7)) & 1) === 1;
}
