import { field } from '@nvmx/vmx-fields';
import { Attention, type Cpu, Exiting, type Shadow } from './cpu.ts';
import { deliver, EVENT_VALID, EventType } from './exceptions.ts';
import { writeFlags } from './flags.ts';
import { isGuestStateValid } from './guest-state-checks.ts';
import { selectContext, updateAttention, updateMode } from './mode.ts';
import { entryAddress } from './paging.ts';
import { Slot } from './slot.ts';
import {
  deliversVirtualInterrupts,
  evaluatePending,
  hasTprShadow,
  isBelowThreshold,
  virtualizeProcessorPriority,
} from './virtual-apic.ts';
import { Exit } from './vm-exit.ts';

const {
  PIN_BASED_VM_EXEC_CONTROL,
  CPU_BASED_VM_EXEC_CONTROL,
  SECONDARY_VM_EXEC_CONTROL,
  VM_ENTRY_CONTROLS,
  VM_EXIT_CONTROLS,
  EPT_POINTER,
  APIC_ACCESS_ADDR,
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
  VM_ENTRY_EXCEPTION_ERROR_CODE,
  VM_ENTRY_INSTRUCTION_LEN,
  VM_EXIT_REASON,
  EXIT_QUALIFICATION,
} = field;

const PROC_SECONDARY = 0x8000_0000 | 0;
const PROC_MONITOR_TRAP = 0x800_0000;
const SECONDARY_APIC_ACCESSES = 1;
const SECONDARY_EPT = 2;
const SECONDARY_VPID = 0x20;
const ENTRY_LOAD_DEBUG = 4;
const ENTRY_IA32E = 0x200;
const ENTRY_LOAD_PAT = 0x4000;
const ENTRY_LOAD_EFER = 0x8000;
const EFER_LMA_LME = 0x500;
const FAILED = 0x8000_0000;
const SHADOW_BITS = 3;
const NMI_BLOCKING = 8;
const DEBUG_CAUSES = 0x400f;
const TYPE = 0x700;
const VECTOR_AND_TYPE = 0x7ff;
const ERROR_CODE = 0x800;
const VPID_OFF = 0;
const DEBUG_CONTROL = 14;

/**
 * Loads the guest's state from the VMCS in use and injects. False: the entry failed, the exit reason stands in the VMCS.
 * Source: SDM volume 3, "VM Entries".
 */
export function enterGuest(cpu: Cpu): boolean {
  loadControls(cpu);
  loadEfer(cpu);
  if (!isGuestStateValid(cpu)) {
    cpu.v[VM_EXIT_REASON] = FAILED + Exit.INVALID_STATE;
    cpu.v[EXIT_QUALIFICATION] = 0;
    cpu.v[EXIT_QUALIFICATION + 1] = 0;
    return false;
  }
  loadState(cpu);
  if ((cpu.secondaryControls & SECONDARY_VPID) === 0) cpu.tlbs.flushVpid(VPID_OFF);
  selectContext(cpu);
  updateMode(cpu);
  updateAttention(cpu);
  prepareEvents(cpu);
  if ((cpu.v[VM_ENTRY_INTR_INFO_FIELD] & EVENT_VALID) !== 0) inject(cpu);
  return true;
}

function loadControls(cpu: Cpu): void {
  const { v } = cpu;
  cpu.pinControls = v[PIN_BASED_VM_EXEC_CONTROL];
  cpu.procControls = v[CPU_BASED_VM_EXEC_CONTROL] | 0;
  cpu.secondaryControls = (cpu.procControls & PROC_SECONDARY) !== 0 ? v[SECONDARY_VM_EXEC_CONTROL] | 0 : 0;
  cpu.entryControls = v[VM_ENTRY_CONTROLS];
  cpu.exitControls = v[VM_EXIT_CONTROLS];
  cpu.eptEnabled = (cpu.secondaryControls & SECONDARY_EPT) !== 0;
  cpu.eptPage = cpu.eptEnabled ? entryAddress(v[EPT_POINTER], v[EPT_POINTER + 1]) : 0;
  cpu.apicAccessPage =
    (cpu.secondaryControls & SECONDARY_APIC_ACCESSES) !== 0
      ? entryAddress(v[APIC_ACCESS_ADDR], v[APIC_ACCESS_ADDR + 1])
      : -1;
}

/** Without the load control LMA and LME follow "IA-32e mode guest", the other bits stay. */
function loadEfer(cpu: Cpu): void {
  if ((cpu.entryControls & ENTRY_LOAD_EFER) !== 0) {
    cpu.efer = cpu.v[GUEST_IA32_EFER];
    return;
  }
  const longMode = (cpu.entryControls & ENTRY_IA32E) !== 0;
  cpu.efer = (cpu.efer & ~EFER_LMA_LME) | (longMode ? EFER_LMA_LME : 0);
}

function loadState(cpu: Cpu): void {
  const { v, r } = cpu;
  r[Slot.RIP] = v[GUEST_RIP];
  r[Slot.RIP + 1] = v[GUEST_RIP + 1];
  r[Slot.RSP] = v[GUEST_RSP];
  r[Slot.RSP + 1] = v[GUEST_RSP + 1];
  writeFlags(r, v[GUEST_RFLAGS]);
  if ((cpu.entryControls & ENTRY_LOAD_PAT) !== 0) {
    cpu.patLow = v[GUEST_IA32_PAT] | 0;
    cpu.patHigh = v[GUEST_IA32_PAT + 1] | 0;
  }
  if ((cpu.entryControls & ENTRY_LOAD_DEBUG) !== 0) {
    cpu.debugRegisters[DEBUG_CONTROL] = v[GUEST_DR7];
    cpu.debugctlLow = v[GUEST_IA32_DEBUGCTL] | 0;
    cpu.debugctlHigh = v[GUEST_IA32_DEBUGCTL + 1] | 0;
  }
  cpu.exiting = Exiting.NO;
  cpu.systemAccess = false;
  cpu.deliveringInfo = 0;
  cpu.deliveringLength = 0;
  cpu.trapExitReason = 0;
  cpu.activity = v[GUEST_ACTIVITY_STATE];
  cpu.pendingDebug = v[GUEST_PENDING_DBG_EXCEPTIONS] & DEBUG_CAUSES;
  const interruptibility = v[GUEST_INTERRUPTIBILITY_INFO];
  cpu.shadow = (interruptibility & SHADOW_BITS) as Shadow;
  cpu.shadowIsNew = false;
  cpu.nmiBlocked = (interruptibility & NMI_BLOCKING) !== 0;
}

/** What may be due before the first instruction. */
function prepareEvents(cpu: Cpu): void {
  cpu.attention &= ~(Attention.SHADOW | Attention.MONITOR_TRAP);
  if (cpu.shadow !== 0) cpu.attention |= Attention.SHADOW;
  cpu.monitorTrapPending = false;
  if ((cpu.procControls & PROC_MONITOR_TRAP) !== 0) cpu.attention |= Attention.MONITOR_TRAP;
  cpu.virtualInterruptRecognized = false;
  if (deliversVirtualInterrupts(cpu)) {
    virtualizeProcessorPriority(cpu);
    evaluatePending(cpu);
  } else if (hasTprShadow(cpu) && cpu.apicAccessPage >= 0 && isBelowThreshold(cpu)) {
    cpu.trapExitReason = Exit.TPR_BELOW_THRESHOLD;
    cpu.trapExitQualification = 0;
  }
}

/** Event injection: delivery as if the event had just happened. */
function inject(cpu: Cpu): void {
  const { v } = cpu;
  const info = v[VM_ENTRY_INTR_INFO_FIELD];
  const type = info & TYPE;
  if (type === EventType.OTHER) {
    cpu.monitorTrapPending = true;
    cpu.attention |= Attention.EVENT;
    return;
  }
  const isSoftware = type >= EventType.SOFTWARE_INTERRUPT;
  if (type === EventType.NMI) cpu.nmiBlocked = true;
  deliver(cpu, {
    info: EVENT_VALID | (info & (VECTOR_AND_TYPE | ERROR_CODE)),
    errorCode: v[VM_ENTRY_EXCEPTION_ERROR_CODE] | 0,
    length: isSoftware ? v[VM_ENTRY_INSTRUCTION_LEN] : 0,
  });
}
