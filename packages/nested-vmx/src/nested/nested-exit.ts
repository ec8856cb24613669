import {
  vmxAbort as abortCode,
  accessRights,
  activityState,
  efer,
  field,
  rflags,
  secondary,
  type Vmcs,
  vmEntry,
  vmExit,
} from '@nvmx/vmx-fields';
import { clearControl, hasControl, hasSecondary, setControl } from '../controls.ts';
import type { InjectedEvent } from '../vcpu/event-info.ts';
import type { Vcpu } from '../vcpu/vcpu.ts';
import { exitLoadList, exitStoreList, loadMsrList, storeMsrList } from './msr-lists.ts';
import { copyField, syncVmcs02ToVmcs12, VPID01 } from './vmcs02.ts';

const DR7_RESET = 0x400;
const LIMIT_MAX = 0xffff_ffff;
const TABLE_LIMIT = 0xffff;
const TSS_LIMIT = 0x67;
/** Access rights that an exit gives host segments (SDM volume 3, "Loading Host Segment and Descriptor-Table Registers"). */
const CODE64 = 0xb | accessRights.S | accessRights.P | accessRights.L | accessRights.G;
const DATA = 0x3 | accessRights.S | accessRights.P | accessRights.DB | accessRights.G;
const TSS_BUSY = 0xb | accessRights.P;

/** The guest-state fields of one segment register. */
interface SegmentWords {
  readonly selector: number;
  readonly base: number;
  readonly limit: number;
  readonly rights: number;
}

const segmentWords = (name: 'ES' | 'CS' | 'SS' | 'DS' | 'FS' | 'GS' | 'TR' | 'LDTR'): SegmentWords => ({
  selector: field[`GUEST_${name}_SELECTOR`],
  base: field[`GUEST_${name}_BASE`],
  limit: field[`GUEST_${name}_LIMIT`],
  rights: field[`GUEST_${name}_AR_BYTES`],
});

const codeSegment = segmentWords('CS');
const taskRegister = segmentWords('TR');
const localTable = segmentWords('LDTR');
const dataSegments = (['ES', 'SS', 'DS', 'FS', 'GS'] as const).map((name) => ({
  segment: segmentWords(name),
  hostSelector: field[`HOST_${name}_SELECTOR`],
}));

/** What L1 is told about an exit of L2. */
export interface ReflectedExit {
  readonly reason: number;
  readonly qualification?: { readonly low: number; readonly high: number };
  readonly interruptionInfo?: number;
  readonly interruptionErrorCode?: number;
}

/** The exit that the processor just left in vmcs02, as it is. */
export function exitOfProcessor(vmcs02: Vmcs): ReflectedExit {
  return {
    reason: vmcs02.read32(field.VM_EXIT_REASON),
    qualification: {
      low: vmcs02.read32(field.EXIT_QUALIFICATION),
      high: vmcs02.words[field.EXIT_QUALIFICATION + 1],
    },
    interruptionInfo: vmcs02.read32(field.VM_EXIT_INTR_INFO),
    interruptionErrorCode: vmcs02.read32(field.VM_EXIT_INTR_ERROR_CODE),
  };
}

/** Leaves L2 for L1 (nested_vmx_vmexit()): saves L2 into vmcs12, tells why, loads L1's host state into vmcs01. */
export function nestedVmexit(vcpu: Vcpu, exit: ReflectedExit): void {
  const { nested, vmcs02 } = vcpu;
  const { vmcs12 } = nested;
  vcpu.trace.nestedExitInject(exit);
  syncVmcs02ToVmcs12({ vmcs12, vmcs02 });
  vmcs12.write32(field.GUEST_ACTIVITY_STATE, vcpu.halted ? activityState.HLT : activityState.ACTIVE);
  vcpu.halted = false;
  recordExit(vcpu, exit);
  const stored = storeMsrList(vcpu, exitStoreList) === 0;
  nested.pages.release();
  nested.guestMode = false;
  nested.runPending = false;
  vcpu.vmcs = vcpu.vmcs01;
  nested.launched = true;
  vcpu.statistics.nestedExits++;
  nested.evmcs.requestSync();
  if (stored) loadVmcs12HostState(vcpu);
  else vmxAbort(vcpu, abortCode.SAVE_GUEST_MSR);
}

/** The exit-information fields of vmcs12 (prepare_vmcs12()). */
function recordExit(vcpu: Vcpu, exit: ReflectedExit): void {
  const { vmcs02 } = vcpu;
  const { vmcs12 } = vcpu.nested;
  vmcs12.write64(field.VM_EXIT_REASON, exit.reason, 0);
  vmcs12.write64(field.EXIT_QUALIFICATION, exit.qualification?.low ?? 0, exit.qualification?.high ?? 0);
  vmcs12.write32(field.VM_EXIT_INTR_INFO, exit.interruptionInfo ?? 0);
  vmcs12.write32(field.VM_EXIT_INTR_ERROR_CODE, exit.interruptionErrorCode ?? 0);
  copyField(field.VM_EXIT_INSTRUCTION_LEN, vmcs02, vmcs12);
  copyField(field.VMX_INSTRUCTION_INFO, vmcs02, vmcs12);
  copyField(field.GUEST_LINEAR_ADDRESS, vmcs02, vmcs12);
  copyField(field.GUEST_PHYSICAL_ADDRESS, vmcs02, vmcs12);
  recordVectoring(vmcs12, vcpu.events.take());
}

/** An event that was on its way into L2 is L1's to deliver again (vmcs12_save_pending_event()). */
function recordVectoring(vmcs12: Vmcs, event: InjectedEvent | undefined): void {
  vmcs12.write32(field.IDT_VECTORING_INFO_FIELD, event?.info ?? 0);
  vmcs12.write32(field.IDT_VECTORING_ERROR_CODE, event?.errorCode ?? 0);
  if (event !== undefined && event.instructionBytes > 0) {
    vmcs12.write32(field.VM_EXIT_INSTRUCTION_LEN, event.instructionBytes);
  }
}

/** A failed entry sets reason and qualification, and nothing else. */
export function recordFailedEntry(vcpu: Vcpu, o: { readonly reason: number; readonly qualification: number }): void {
  const { vmcs12 } = vcpu.nested;
  vmcs12.write64(field.VM_EXIT_REASON, o.reason, 0);
  vmcs12.write64(field.EXIT_QUALIFICATION, o.qualification, 0);
  vcpu.nested.evmcs.requestSync();
}

/** L1 goes on at its HOST_RIP with its host state (load_vmcs12_host_state()). */
export function loadVmcs12HostState(vcpu: Vcpu): void {
  const { vmcs01 } = vcpu;
  const { vmcs12 } = vcpu.nested;
  // Without VPID a VM exit drops what L1 had cached of its linear addresses.
  if (!hasSecondary(vmcs12, secondary.SECONDARY_EXEC_ENABLE_VPID)) {
    vcpu.processor.invalidate({ kind: 'vpid', vpid: VPID01 });
  }
  loadHostRegisters(vmcs12, vmcs01);
  loadHostSegments(vmcs12, vmcs01);
  loadHostMsrs(vmcs12, vmcs01);
  vmcs01.write64(field.GUEST_INTERRUPTIBILITY_INFO, 0, 0);
  vmcs01.write64(field.GUEST_PENDING_DBG_EXCEPTIONS, 0, 0);
  vmcs01.write64(field.GUEST_ACTIVITY_STATE, 0, 0);
  if (loadMsrList(vcpu, exitLoadList) !== 0) vmxAbort(vcpu, abortCode.LOAD_HOST_MSR);
}

/** VMX abort: L1 cannot go on, and its processor shuts down (KVM: a triple fault). */
function vmxAbort(vcpu: Vcpu, code: number): void {
  vcpu.die(`VMX abort ${code}: a VM exit of L2 could not be completed`);
}

function loadHostRegisters(vmcs12: Vmcs, vmcs01: Vmcs): void {
  const cr0 = vmcs12.read32(field.HOST_CR0);
  const cr4 = vmcs12.read32(field.HOST_CR4);
  vmcs01.write64(field.GUEST_CR0, cr0, 0);
  vmcs01.write64(field.CR0_READ_SHADOW, cr0, 0);
  vmcs01.write64(field.GUEST_CR4, cr4, 0);
  vmcs01.write64(field.CR4_READ_SHADOW, cr4, 0);
  moveField(vmcs12, field.HOST_CR3, vmcs01, field.GUEST_CR3);
  moveField(vmcs12, field.HOST_RSP, vmcs01, field.GUEST_RSP);
  moveField(vmcs12, field.HOST_RIP, vmcs01, field.GUEST_RIP);
  vmcs01.write64(field.GUEST_RFLAGS, rflags.FIXED, 0);
  vmcs01.write64(field.GUEST_DR7, DR7_RESET, 0);
  vmcs01.write64(field.GUEST_IA32_DEBUGCTL, 0, 0);
}

function loadHostSegments(vmcs12: Vmcs, vmcs01: Vmcs): void {
  for (const { segment, hostSelector } of dataSegments) {
    const selector = vmcs12.read32(hostSelector);
    const rights = selector === 0 ? accessRights.UNUSABLE | DATA : DATA;
    loadSegment(vmcs01, segment, { selector, limit: LIMIT_MAX, rights });
  }
  loadSegment(vmcs01, codeSegment, {
    selector: vmcs12.read32(field.HOST_CS_SELECTOR),
    limit: LIMIT_MAX,
    rights: CODE64,
  });
  loadSegment(vmcs01, taskRegister, {
    selector: vmcs12.read32(field.HOST_TR_SELECTOR),
    limit: TSS_LIMIT,
    rights: TSS_BUSY,
  });
  loadSegment(vmcs01, localTable, { selector: 0, limit: 0, rights: accessRights.UNUSABLE });
  moveField(vmcs12, field.HOST_FS_BASE, vmcs01, field.GUEST_FS_BASE);
  moveField(vmcs12, field.HOST_GS_BASE, vmcs01, field.GUEST_GS_BASE);
  moveField(vmcs12, field.HOST_TR_BASE, vmcs01, field.GUEST_TR_BASE);
  moveField(vmcs12, field.HOST_GDTR_BASE, vmcs01, field.GUEST_GDTR_BASE);
  moveField(vmcs12, field.HOST_IDTR_BASE, vmcs01, field.GUEST_IDTR_BASE);
  vmcs01.write32(field.GUEST_GDTR_LIMIT, TABLE_LIMIT);
  vmcs01.write32(field.GUEST_IDTR_LIMIT, TABLE_LIMIT);
}

function loadSegment(
  vmcs01: Vmcs,
  segment: SegmentWords,
  o: { readonly selector: number; readonly limit: number; readonly rights: number },
): void {
  vmcs01.write32(segment.selector, o.selector);
  vmcs01.write64(segment.base, 0, 0);
  vmcs01.write32(segment.limit, o.limit);
  vmcs01.write32(segment.rights, o.rights);
}

function loadHostMsrs(vmcs12: Vmcs, vmcs01: Vmcs): void {
  moveField(vmcs12, field.HOST_IA32_SYSENTER_CS, vmcs01, field.GUEST_SYSENTER_CS);
  moveField(vmcs12, field.HOST_IA32_SYSENTER_ESP, vmcs01, field.GUEST_SYSENTER_ESP);
  moveField(vmcs12, field.HOST_IA32_SYSENTER_EIP, vmcs01, field.GUEST_SYSENTER_EIP);
  if (hasControl(vmcs12, field.VM_EXIT_CONTROLS, vmExit.VM_EXIT_LOAD_IA32_PAT)) {
    moveField(vmcs12, field.HOST_IA32_PAT, vmcs01, field.GUEST_IA32_PAT);
  }
  loadHostEfer(vmcs12, vmcs01);
}

function loadHostEfer(vmcs12: Vmcs, vmcs01: Vmcs): void {
  const host64 = hasControl(vmcs12, field.VM_EXIT_CONTROLS, vmExit.VM_EXIT_HOST_ADDR_SPACE_SIZE);
  if (hasControl(vmcs12, field.VM_EXIT_CONTROLS, vmExit.VM_EXIT_LOAD_IA32_EFER)) {
    moveField(vmcs12, field.HOST_IA32_EFER, vmcs01, field.GUEST_IA32_EFER);
  } else {
    const mode = efer.LMA | efer.LME;
    const value = vmcs01.read32(field.GUEST_IA32_EFER);
    vmcs01.write64(field.GUEST_IA32_EFER, host64 ? value | mode : value & ~mode, 0);
  }
  const change = host64 ? setControl : clearControl;
  change(vmcs01, field.VM_ENTRY_CONTROLS, vmEntry.VM_ENTRY_IA32E_MODE);
}

function moveField(from: Vmcs, source: number, to: Vmcs, target: number): void {
  to.words[target] = from.words[source];
  to.words[target + 1] = from.words[source + 1];
}
