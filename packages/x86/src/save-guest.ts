import { field } from '@nvmx/vmx-fields';
import type { Cpu } from './cpu.ts';
import { readFlags } from './flags.ts';
import { Slot } from './slot.ts';

const {
  GUEST_RIP,
  GUEST_RSP,
  GUEST_RFLAGS,
  GUEST_IA32_EFER,
  GUEST_IA32_PAT,
  GUEST_IA32_DEBUGCTL,
  GUEST_DR7,
  GUEST_INTERRUPTIBILITY_INFO,
  GUEST_ACTIVITY_STATE,
  GUEST_PENDING_DBG_EXCEPTIONS,
  VM_ENTRY_INTR_INFO_FIELD,
  VM_ENTRY_CONTROLS,
} = field;

const EXIT_SAVE_DEBUG = 4;
const EXIT_SAVE_PAT = 0x4_0000;
const EXIT_SAVE_EFER = 0x10_0000;
const SECONDARY_UNRESTRICTED = 0x80;
const SECONDARY_VPID = 0x20;
const ENTRY_IA32E = 0x200;
const EFER_LMA = 0x400;
const NMI_BLOCKING = 8;
const VALID = 0x8000_0000;
const VPID_OFF = 0;
const DEBUG_CONTROL = 14;
const DR7_AFTER_EXIT = 0x400;

/**
 * Saves the guest's state into the VMCS in use. Segments, control registers and descriptor tables are there already.
 * Source: SDM volume 3, "Saving Guest State".
 */
export function saveGuest(cpu: Cpu): void {
  const { v, r } = cpu;
  v[GUEST_RIP] = r[Slot.RIP];
  v[GUEST_RIP + 1] = r[Slot.RIP + 1];
  v[GUEST_RSP] = r[Slot.RSP];
  v[GUEST_RSP + 1] = r[Slot.RSP + 1];
  v[GUEST_RFLAGS] = readFlags(r);
  v[GUEST_RFLAGS + 1] = 0;
  v[GUEST_INTERRUPTIBILITY_INFO] = cpu.shadow | (cpu.nmiBlocked ? NMI_BLOCKING : 0);
  v[GUEST_ACTIVITY_STATE] = cpu.activity;
  v[GUEST_PENDING_DBG_EXCEPTIONS] = cpu.pendingDebug;
  v[VM_ENTRY_INTR_INFO_FIELD] &= ~VALID;
  saveDebugControls(cpu);
  if ((cpu.exitControls & EXIT_SAVE_PAT) !== 0) {
    v[GUEST_IA32_PAT] = cpu.patLow;
    v[GUEST_IA32_PAT + 1] = cpu.patHigh;
  }
  if ((cpu.exitControls & EXIT_SAVE_EFER) !== 0) v[GUEST_IA32_EFER] = cpu.efer;
  if ((cpu.secondaryControls & SECONDARY_UNRESTRICTED) !== 0) saveMode(cpu);
  if ((cpu.secondaryControls & SECONDARY_VPID) === 0) cpu.tlbs.flushVpid(VPID_OFF);
}

/** After a VM exit DR7 is 400H and IA32_DEBUGCTL is 0, whether or not they were saved. */
function saveDebugControls(cpu: Cpu): void {
  const { v, debugRegisters } = cpu;
  if ((cpu.exitControls & EXIT_SAVE_DEBUG) !== 0) {
    v[GUEST_DR7] = debugRegisters[DEBUG_CONTROL];
    v[GUEST_DR7 + 1] = 0;
    v[GUEST_IA32_DEBUGCTL] = cpu.debugctlLow;
    v[GUEST_IA32_DEBUGCTL + 1] = cpu.debugctlHigh;
  }
  debugRegisters[DEBUG_CONTROL] = DR7_AFTER_EXIT;
  cpu.debugctlLow = 0;
  cpu.debugctlHigh = 0;
}

/** Under "unrestricted guest" the entry control "IA-32e mode guest" follows the mode that the guest is in. */
function saveMode(cpu: Cpu): void {
  const { v } = cpu;
  if ((cpu.efer & EFER_LMA) !== 0) v[VM_ENTRY_CONTROLS] |= ENTRY_IA32E;
  else v[VM_ENTRY_CONTROLS] &= ~ENTRY_IA32E;
}
