import { field } from '@nvmx/vmx-fields';
import type { Cpu } from './cpu.ts';
import { isCanonical } from './faults.ts';
import { Flag } from './flags.ts';
import { Rights } from './segments.ts';

const {
  GUEST_CR0,
  GUEST_CR4,
  GUEST_RIP,
  GUEST_RFLAGS,
  GUEST_CS_AR_BYTES,
  GUEST_TR_AR_BYTES,
  GUEST_ACTIVITY_STATE,
  GUEST_INTERRUPTIBILITY_INFO,
  VM_ENTRY_INTR_INFO_FIELD,
  VMCS_LINK_POINTER,
} = field;

const SECONDARY_UNRESTRICTED = 0x80;
const ENTRY_IA32E = 0x200;
const CR0_PE = 1;
const CR0_NE = 0x20;
const CR0_PG = 0x8000_0000 | 0;
const CR4_PAE = 0x20;
const CR4_VMXE = 0x2000;
const EFER_LMA = 0x400;
const BUSY_TSS = 11;
const BUSY_TSS_16 = 3;
const ACTIVITY_MAX = 3;
const BLOCKING_BY_STI = 1;
const BLOCKING_BY_MOV_SS = 2;
const INFO_TYPE = 0x700;

/**
 * What a VM entry checks of the guest state here: enough that execution cannot start from a state that no processor can
 * be in. The full list of the manual is L0's to check for its guests.
 * Source: SDM volume 3, "Checking and Loading Guest State".
 */
export function isGuestStateValid(cpu: Cpu): boolean {
  return (
    areControlRegistersValid(cpu) && isInstructionPointerValid(cpu) && areSegmentsValid(cpu) && isEventStateValid(cpu)
  );
}

function areControlRegistersValid(cpu: Cpu): boolean {
  const { v } = cpu;
  const cr0 = v[GUEST_CR0];
  const unrestricted = (cpu.secondaryControls & SECONDARY_UNRESTRICTED) !== 0;
  const fixed = unrestricted ? CR0_NE : CR0_NE | CR0_PE | CR0_PG;
  if ((cr0 & fixed) !== fixed || (v[GUEST_CR4] & CR4_VMXE) === 0) return false;
  if ((cr0 & CR0_PG) !== 0 && (cr0 & CR0_PE) === 0) return false;
  const longMode = (cpu.entryControls & ENTRY_IA32E) !== 0;
  if (longMode && ((cr0 & CR0_PG) === 0 || (v[GUEST_CR4] & CR4_PAE) === 0)) return false;
  return longMode === ((cpu.efer & EFER_LMA) !== 0);
}

function isInstructionPointerValid(cpu: Cpu): boolean {
  const { v } = cpu;
  const flags = v[GUEST_RFLAGS];
  if ((flags & Flag.FIXED) === 0) return false;
  const isLong = (cpu.entryControls & ENTRY_IA32E) !== 0;
  if (isLong && (flags & Flag.VM) !== 0) return false;
  const high = v[GUEST_RIP + 1] | 0;
  return isLong && (v[GUEST_CS_AR_BYTES] & Rights.LONG) !== 0 ? isCanonical(high) : high === 0;
}

function areSegmentsValid(cpu: Cpu): boolean {
  const { v } = cpu;
  const code = v[GUEST_CS_AR_BYTES];
  const task = v[GUEST_TR_AR_BYTES];
  const needed = Rights.NOT_SYSTEM | Rights.PRESENT | Rights.ACCESSED;
  if ((code & needed) !== needed) return false;
  const isLong = (cpu.entryControls & ENTRY_IA32E) !== 0;
  if (isLong && (code & Rights.LONG) !== 0 && (code & Rights.BIG) !== 0) return false;
  if ((task & Rights.UNUSABLE) !== 0 || (task & Rights.PRESENT) === 0) return false;
  const type = task & 0x1f;
  return type === BUSY_TSS || (type === BUSY_TSS_16 && !isLong);
}

function isEventStateValid(cpu: Cpu): boolean {
  const { v } = cpu;
  const interruptibility = v[GUEST_INTERRUPTIBILITY_INFO];
  const both = BLOCKING_BY_STI | BLOCKING_BY_MOV_SS;
  if (v[GUEST_ACTIVITY_STATE] > ACTIVITY_MAX || (interruptibility & both) === both) return false;
  const enabled = (v[GUEST_RFLAGS] & Flag.IF) !== 0;
  if ((interruptibility & BLOCKING_BY_STI) !== 0 && !enabled) return false;
  const info = v[VM_ENTRY_INTR_INFO_FIELD];
  if (info >>> 31 === 1 && (info & INFO_TYPE) === 0 && !(enabled && (interruptibility & both) === 0)) return false;
  return (v[VMCS_LINK_POINTER] & v[VMCS_LINK_POINTER + 1]) >>> 0 === 0xffff_ffff;
}
