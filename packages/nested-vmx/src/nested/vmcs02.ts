import {
  cr0,
  cr4,
  efer,
  type FieldName,
  field,
  pinBased,
  procBased,
  secondary,
  type Vmcs,
  vmEntry,
  vmExit,
} from '@nvmx/vmx-fields';
import { controlCapabilities, fixedBits } from '../capabilities.ts';
import { hasProc, hasSecondary } from '../controls.ts';
import { isValidEvent } from '../vcpu/event-info.ts';
import { copyRuns, runsOf } from './vmcs-runs.ts';

/** Physical notification vector of L0 for posted interrupts of L2 (KVM: POSTED_INTR_NESTED_VECTOR). */
export const POSTED_INTERRUPT_NESTED_VECTOR = 0xf0;
/** L0 tags translations of L1 and L2 with VPIDs of its own. */
export const VPID01 = 1;
export const VPID02 = 2;

/** Guest-state fields that an entry or exit moves by rules of its own, not as they stand. */
const movedByRule: ReadonlySet<FieldName> = new Set<FieldName>([
  'GUEST_CR0',
  'GUEST_CR4',
  'GUEST_DR7',
  'GUEST_IA32_DEBUGCTL',
  'GUEST_IA32_EFER',
  'GUEST_IA32_PAT',
  'GUEST_IA32_PERF_GLOBAL_CTRL',
  'GUEST_PML_INDEX',
  'VMCS_LINK_POINTER',
  'VMX_PREEMPTION_TIMER_VALUE',
]);

const guestStateRuns = runsOf((row) => row.type === 'guest state' && !movedByRule.has(row.name));

/** Execution controls that go into vmcs02 as L1 wrote them. */
const controlRuns = runsOf((row) =>
  (
    [
      'EXCEPTION_BITMAP',
      'PAGE_FAULT_ERROR_CODE_MASK',
      'PAGE_FAULT_ERROR_CODE_MATCH',
      'CR3_TARGET_COUNT',
      'CR3_TARGET_VALUE0',
      'CR3_TARGET_VALUE1',
      'CR3_TARGET_VALUE2',
      'CR3_TARGET_VALUE3',
      'TPR_THRESHOLD',
      'EOI_EXIT_BITMAP0',
      'EOI_EXIT_BITMAP1',
      'EOI_EXIT_BITMAP2',
      'EOI_EXIT_BITMAP3',
    ] as readonly FieldName[]
  ).includes(row.name),
);

/**
 * Bits of CR0 and CR4 that L0 owns in every guest: VMX operation fixes them, paging mode decides entry controls, and what
 * CPUID does not offer nobody may set.
 */
export const cr0L0Owned = cr0.PE | cr0.ET | cr0.NE | cr0.NW | cr0.CD | cr0.PG;
export const cr4L0Owned = cr4.PAE | cr4.VMXE | ~fixedBits.cr4.mayBeOne;

/** What L0 always asks of the processor, whoever runs. */
export const l0Controls = {
  pin: controlCapabilities.pinBased.low | pinBased.PIN_BASED_EXT_INTR_MASK | pinBased.PIN_BASED_NMI_EXITING,
  proc:
    controlCapabilities.procBased.low |
    procBased.CPU_BASED_HLT_EXITING |
    procBased.CPU_BASED_UNCOND_IO_EXITING |
    procBased.CPU_BASED_USE_MSR_BITMAPS |
    procBased.CPU_BASED_USE_TSC_OFFSETTING |
    procBased.CPU_BASED_ACTIVATE_SECONDARY_CONTROLS,
  /** L1's CR8 is the task priority of the local APIC that the board gives it. */
  procOfL1: procBased.CPU_BASED_CR8_LOAD_EXITING | procBased.CPU_BASED_CR8_STORE_EXITING,
  secondary: secondary.SECONDARY_EXEC_ENABLE_EPT | secondary.SECONDARY_EXEC_ENABLE_VPID,
  secondaryOfL1: secondary.SECONDARY_EXEC_ENABLE_RDTSCP,
  exit:
    controlCapabilities.vmExit.low |
    vmExit.VM_EXIT_SAVE_DEBUG_CONTROLS |
    vmExit.VM_EXIT_HOST_ADDR_SPACE_SIZE |
    vmExit.VM_EXIT_ACK_INTR_ON_EXIT |
    vmExit.VM_EXIT_SAVE_IA32_PAT |
    vmExit.VM_EXIT_LOAD_IA32_PAT |
    vmExit.VM_EXIT_SAVE_IA32_EFER |
    vmExit.VM_EXIT_LOAD_IA32_EFER,
  entry:
    controlCapabilities.vmEntry.low |
    vmEntry.VM_ENTRY_LOAD_DEBUG_CONTROLS |
    vmEntry.VM_ENTRY_LOAD_IA32_PAT |
    vmEntry.VM_ENTRY_LOAD_IA32_EFER,
} as const;

/** Secondary controls of vmcs12 that vmcs02 takes over. The rest L0 emulates or does not offer. */
const secondaryFromVmcs12 =
  secondary.SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES |
  secondary.SECONDARY_EXEC_DESC |
  secondary.SECONDARY_EXEC_ENABLE_RDTSCP |
  secondary.SECONDARY_EXEC_VIRTUALIZE_X2APIC_MODE |
  secondary.SECONDARY_EXEC_WBINVD_EXITING |
  secondary.SECONDARY_EXEC_APIC_REGISTER_VIRT |
  secondary.SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY;

/** Pages and bitmaps enter vmcs02 later, when they are known to be reachable. */
const procGrantedLater =
  procBased.CPU_BASED_TPR_SHADOW | procBased.CPU_BASED_USE_MSR_BITMAPS | procBased.CPU_BASED_USE_IO_BITMAPS;

/**
 * Builds vmcs02 from vmcs12 and L0's own wishes (prepare_vmcs02()). Addresses of L1 pages, the MSR bitmap and EPT_POINTER
 * are not touched here.
 */
export function prepareVmcs02(o: { readonly vmcs12: Vmcs; readonly vmcs02: Vmcs; readonly vmcs01: Vmcs }): void {
  const { vmcs12, vmcs02, vmcs01 } = o;
  copyRuns(guestStateRuns, { from: vmcs12, to: vmcs02 });
  copyRuns(controlRuns, { from: vmcs12, to: vmcs02 });
  prepareExecutionControls(vmcs12, vmcs02);
  prepareControlRegister(vmcs12, vmcs02, controlRegister0);
  prepareControlRegister(vmcs12, vmcs02, controlRegister4);
  prepareEfer(vmcs12, vmcs02, vmcs01);
  prepareDebugAndPat(vmcs12, vmcs02, vmcs01);
  prepareTscOffset(vmcs12, vmcs02, vmcs01);
  copyEntryEvent(vmcs12, vmcs02);
}

function prepareExecutionControls(vmcs12: Vmcs, vmcs02: Vmcs): void {
  const pin12 = vmcs12.read32(field.PIN_BASED_VM_EXEC_CONTROL);
  vmcs02.write32(field.PIN_BASED_VM_EXEC_CONTROL, (pin12 & ~pinBased.PIN_BASED_POSTED_INTR) | l0Controls.pin);
  vmcs02.write32(field.POSTED_INTR_NV, POSTED_INTERRUPT_NESTED_VECTOR);
  const proc12 = vmcs12.read32(field.CPU_BASED_VM_EXEC_CONTROL) & ~procGrantedLater;
  const cr8 = hasProc(vmcs12, procBased.CPU_BASED_TPR_SHADOW) ? 0 : l0Controls.procOfL1;
  vmcs02.write32(field.CPU_BASED_VM_EXEC_CONTROL, proc12 | l0Controls.proc | cr8);
  let granted = l0Controls.secondary;
  if ((proc12 & procBased.CPU_BASED_ACTIVATE_SECONDARY_CONTROLS) !== 0) {
    granted |= vmcs12.read32(field.SECONDARY_VM_EXEC_CONTROL) & secondaryFromVmcs12;
  }
  vmcs02.write32(field.SECONDARY_VM_EXEC_CONTROL, granted);
  vmcs02.write32(field.VIRTUAL_PROCESSOR_ID, VPID02);
  vmcs02.write32(field.VM_EXIT_CONTROLS, l0Controls.exit);
  vmcs02.write64(field.VMCS_LINK_POINTER, 0xffff_ffff, 0xffff_ffff);
}

/** A register of L2 as L2 reads it: bits that L1 owns from the read shadow, the rest as they are. */
export function readAsL2(o: { readonly value: number; readonly mask: number; readonly shadow: number }): number {
  return (o.value & ~o.mask) | (o.shadow & o.mask);
}

/** The fields that hold one control register, and the bits of it that L0 owns. */
export interface ControlRegisterFields {
  /** Bits that VMX operation wants to be 1, whatever the guest reads. */
  readonly fixed: number;
  readonly guest: number;
  readonly mask: number;
  readonly shadow: number;
  readonly l0Owned: number;
}
export const controlRegister0: ControlRegisterFields = {
  fixed: fixedBits.cr0.mustBeOne & cr0.NE,
  guest: field.GUEST_CR0,
  mask: field.CR0_GUEST_HOST_MASK,
  shadow: field.CR0_READ_SHADOW,
  l0Owned: cr0L0Owned,
};
export const controlRegister4: ControlRegisterFields = {
  fixed: fixedBits.cr4.mustBeOne,
  guest: field.GUEST_CR4,
  mask: field.CR4_GUEST_HOST_MASK,
  shadow: field.CR4_READ_SHADOW,
  l0Owned: cr4L0Owned,
};

/** L2 may change a bit only when neither L0 nor L1 owns it, and reads what L1 wants it to read. */
function prepareControlRegister(vmcs12: Vmcs, vmcs02: Vmcs, fields: ControlRegisterFields): void {
  const value = vmcs12.read32(fields.guest);
  const mask = vmcs12.read32(fields.mask);
  vmcs02.write64(fields.guest, value, 0);
  vmcs02.write64(fields.mask, mask | fields.l0Owned, 0xffff_ffff);
  vmcs02.write64(fields.shadow, readAsL2({ value, mask, shadow: vmcs12.read32(fields.shadow) }), 0);
}

/**
 * A control register of L2 as vmcs12 is to hold it: bits that only the processor and L2 touched from GUEST_CRn, bits
 * that L1 owns as L1 left them, bits that L0 owns for itself from the read shadow.
 */
function savedControlRegister(vmcs12: Vmcs, vmcs02: Vmcs, fields: ControlRegisterFields): number {
  const l1Owned = vmcs12.read32(fields.mask);
  const l0Only = fields.l0Owned & ~l1Owned;
  const l2Owned = ~(l1Owned | fields.l0Owned);
  return (
    (vmcs02.read32(fields.guest) & l2Owned) |
    (vmcs12.read32(fields.guest) & l1Owned) |
    (vmcs02.read32(fields.shadow) & l0Only)
  );
}

function prepareEfer(vmcs12: Vmcs, vmcs02: Vmcs, vmcs01: Vmcs): void {
  const entry12 = vmcs12.read32(field.VM_ENTRY_CONTROLS);
  const ia32e = entry12 & vmEntry.VM_ENTRY_IA32E_MODE;
  const loads = (entry12 & vmEntry.VM_ENTRY_LOAD_IA32_EFER) !== 0;
  const source = loads ? vmcs12 : vmcs01;
  let value = source.read32(field.GUEST_IA32_EFER);
  if (!loads) value = ia32e === 0 ? value & ~(efer.LMA | efer.LME) : value | efer.LMA | efer.LME;
  vmcs02.write64(field.GUEST_IA32_EFER, value, 0);
  vmcs02.write32(field.VM_ENTRY_CONTROLS, l0Controls.entry | ia32e);
}

function prepareDebugAndPat(vmcs12: Vmcs, vmcs02: Vmcs, vmcs01: Vmcs): void {
  const entry12 = vmcs12.read32(field.VM_ENTRY_CONTROLS);
  const debug = (entry12 & vmEntry.VM_ENTRY_LOAD_DEBUG_CONTROLS) === 0 ? vmcs01 : vmcs12;
  copyField(field.GUEST_DR7, debug, vmcs02);
  copyField(field.GUEST_IA32_DEBUGCTL, debug, vmcs02);
  copyField(field.GUEST_IA32_PAT, (entry12 & vmEntry.VM_ENTRY_LOAD_IA32_PAT) === 0 ? vmcs01 : vmcs12, vmcs02);
}

function prepareTscOffset(vmcs12: Vmcs, vmcs02: Vmcs, vmcs01: Vmcs): void {
  copyField(field.TSC_OFFSET, vmcs01, vmcs02);
  if ((vmcs12.read32(field.CPU_BASED_VM_EXEC_CONTROL) & procBased.CPU_BASED_USE_TSC_OFFSETTING) === 0) return;
  const sum = vmcs01.readBig(field.TSC_OFFSET) + vmcs12.readBig(field.TSC_OFFSET);
  vmcs02.writeBig(field.TSC_OFFSET, BigInt.asUintN(64, sum));
}

function copyEntryEvent(vmcs12: Vmcs, vmcs02: Vmcs): void {
  copyField(field.VM_ENTRY_INTR_INFO_FIELD, vmcs12, vmcs02);
  copyField(field.VM_ENTRY_EXCEPTION_ERROR_CODE, vmcs12, vmcs02);
  copyField(field.VM_ENTRY_INSTRUCTION_LEN, vmcs12, vmcs02);
}

/** Saves L2's state into vmcs12 as a VM exit to L1 does (sync_vmcs02_to_vmcs12()). */
export function syncVmcs02ToVmcs12(o: { readonly vmcs12: Vmcs; readonly vmcs02: Vmcs }): void {
  const { vmcs12, vmcs02 } = o;
  const exit12 = vmcs12.read32(field.VM_EXIT_CONTROLS);
  const cr0 = savedControlRegister(vmcs12, vmcs02, controlRegister0);
  const cr4 = savedControlRegister(vmcs12, vmcs02, controlRegister4);
  const interruptStatus = vmcs12.read32(field.GUEST_INTR_STATUS);
  copyRuns(guestStateRuns, { from: vmcs02, to: vmcs12 });
  vmcs12.write64(field.GUEST_CR0, cr0, 0);
  vmcs12.write64(field.GUEST_CR4, cr4, 0);
  if (!hasSecondary(vmcs12, secondary.SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY)) {
    vmcs12.write32(field.GUEST_INTR_STATUS, interruptStatus);
  }
  if ((exit12 & vmExit.VM_EXIT_SAVE_DEBUG_CONTROLS) !== 0) {
    copyField(field.GUEST_DR7, vmcs02, vmcs12);
    copyField(field.GUEST_IA32_DEBUGCTL, vmcs02, vmcs12);
  }
  if ((exit12 & vmExit.VM_EXIT_SAVE_IA32_EFER) !== 0) copyField(field.GUEST_IA32_EFER, vmcs02, vmcs12);
  if ((exit12 & vmExit.VM_EXIT_SAVE_IA32_PAT) !== 0) copyField(field.GUEST_IA32_PAT, vmcs02, vmcs12);
  saveIa32eMode(vmcs12, vmcs02);
  if (isValidEvent(vmcs12.read32(field.VM_ENTRY_INTR_INFO_FIELD))) {
    vmcs12.write32(field.VM_ENTRY_INTR_INFO_FIELD, vmcs12.read32(field.VM_ENTRY_INTR_INFO_FIELD) & 0x7fff_ffff);
  }
}

/** "IA-32e mode guest" follows EFER.LMA of the guest that exits (SDM volume 3, "Saving Non-Register State"). */
function saveIa32eMode(vmcs12: Vmcs, vmcs02: Vmcs): void {
  const longMode = (vmcs02.read32(field.GUEST_IA32_EFER) & efer.LMA) !== 0;
  const entry12 = vmcs12.read32(field.VM_ENTRY_CONTROLS) & ~vmEntry.VM_ENTRY_IA32E_MODE;
  vmcs12.write32(field.VM_ENTRY_CONTROLS, longMode ? entry12 | vmEntry.VM_ENTRY_IA32E_MODE : entry12);
}

export function copyField(word: number, from: Vmcs, to: Vmcs): void {
  to.words[word] = from.words[word];
  to.words[word + 1] = from.words[word + 1];
}
