import { OperatingError } from '@nvmx/guest-memory';
import { drive, type Op } from '@nvmx/sync';
import {
  activityState,
  EXIT_FAILED_VMENTRY,
  exceptionVector,
  exitReason,
  field,
  interruptibility,
  pinBased,
  procBased,
  secondary,
  vmEntryFailure,
  vmInstructionError,
} from '@nvmx/vmx-fields';
import { clearControl, hasPin, hasProc, hasSecondary, setControl } from '../controls.ts';
import { vmFail, vmFailInvalid } from '../instructions/outcome.ts';
import { mayExecuteVmx } from '../instructions/permission.ts';
import { releaseVmcs12 } from '../instructions/region.ts';
import { exceptionEvent, isValidEvent } from '../vcpu/event-info.ts';
import { skipInstruction } from '../vcpu/guest-registers.ts';
import type { Vcpu } from '../vcpu/vcpu.ts';
import {
  controlChecks,
  type EntryCheck,
  enlightenedControlChecks,
  firstFailure,
  guestStateChecks,
  hostStateChecks,
} from './entry-checks.ts';
import { entryLoadList, loadMsrList } from './msr-lists.ts';
import { loadVmcs12HostState, recordFailedEntry } from './nested-exit.ts';
import { dirtyGroup, NOT_MERGED } from './nested-state.ts';
import { prepareVmcs02, VPID02 } from './vmcs02.ts';

const enlightenedChecks = [...controlChecks, ...enlightenedControlChecks];

/** VMLAUNCH and VMRESUME of L1 (nested_vmx_run()). On success L2 is what the vCPU runs next. */
export function handleVmEntry(vcpu: Vcpu, o: { readonly launch: boolean }): void {
  if (!mayExecuteVmx(vcpu)) return;
  const { nested, vmcs01 } = vcpu;
  if (!loadEnlightenedVmcs(vcpu, o)) return;
  if (!nested.hasCurrentVmcs) {
    vmFailInvalid(vcpu);
    return;
  }
  if ((vmcs01.read32(field.GUEST_INTERRUPTIBILITY_INFO) & interruptibility.MOV_SS) !== 0) {
    vmFail(vcpu, vmInstructionError.VMXERR_ENTRY_EVENTS_BLOCKED_BY_MOV_SS);
    return;
  }
  if (!nested.evmcs.isActive && nested.launched === o.launch) {
    const { VMXERR_VMLAUNCH_NONCLEAR_VMCS, VMXERR_VMRESUME_NONLAUNCHED_VMCS } = vmInstructionError;
    vmFail(vcpu, o.launch ? VMXERR_VMLAUNCH_NONCLEAR_VMCS : VMXERR_VMRESUME_NONLAUNCHED_VMCS);
    return;
  }
  const checks = nested.evmcs.isActive ? enlightenedChecks : controlChecks;
  if (broken(vcpu, dirtyGroup.controls, checks) !== undefined) {
    vmFail(vcpu, vmInstructionError.VMXERR_ENTRY_INVALID_CONTROL_FIELD);
    return;
  }
  if (broken(vcpu, dirtyGroup.host, hostStateChecks) !== undefined) {
    vmFail(vcpu, vmInstructionError.VMXERR_ENTRY_INVALID_HOST_STATE_FIELD);
    return;
  }
  enterGuestMode(vcpu);
}

/**
 * Takes vmcs12 from the enlightened VMCS that L1 named in its VP assist page, if it did
 * (nested_vmx_handle_enlightened_vmptrld()). False: L1 got an exception or a failure.
 */
function loadEnlightenedVmcs(vcpu: Vcpu, o: { readonly launch: boolean }): boolean {
  const { nested } = vcpu;
  const address = vcpu.hyperv.currentNestedVmcs();
  nested.msrBitmapIsClean = false;
  if (address === undefined) {
    drive(nested.evmcs.release());
    return true;
  }
  releaseVmcs12(vcpu);
  const outcome = drive(nested.evmcs.load({ address, launch: o.launch, vmcs12: nested.vmcs12 }));
  nested.dirty = dirtyGroup.all;
  switch (outcome.kind) {
    case 'loaded':
      nested.msrBitmapIsClean = outcome.msrBitmapIsClean;
      return true;
    case 'unreachable':
      vcpu.queueEvent(exceptionEvent(exceptionVector.UD));
      return false;
    case 'wrong-revision':
      vmFailInvalid(vcpu);
      return false;
  }
}

/** The first broken rule of a group. The group is due only when a field that it reads was written since it last held. */
function broken(vcpu: Vcpu, group: number, checks: readonly EntryCheck[]): EntryCheck | undefined {
  const { nested } = vcpu;
  if ((nested.dirty & group) === 0) return undefined;
  const failure = firstFailure(checks, nested.vmcs12);
  if (failure === undefined) nested.dirty &= ~group;
  else vcpu.trace.nestedEntryFailed(failure);
  return failure;
}

/** nested_vmx_enter_non_root_mode(). */
function enterGuestMode(vcpu: Vcpu): void {
  const { nested, vmcs01, vmcs02 } = vcpu;
  const { vmcs12 } = nested;
  vcpu.trace.nestedEntry();
  prepareVmcs02({ vmcs12, vmcs02, vmcs01 });
  prepareTranslations(vcpu);
  if (!loadNestedPages(vcpu)) return;
  const failure = broken(vcpu, dirtyGroup.guest, guestStateChecks);
  if (failure !== undefined) {
    failEntry(vcpu, exitReason.INVALID_STATE, failure.qualification ?? vmEntryFailure.DEFAULT);
    return;
  }
  // L1 resumes at HOST_RIP, but a debugger that looks at vmcs01 meanwhile finds it behind its VMRESUME.
  skipInstruction(vmcs01);
  vcpu.vmcs = vmcs02;
  nested.guestMode = true;
  nested.runPending = true;
  vcpu.statistics.nestedEntries++;
  enterActivityState(vcpu);
  const failed = loadMsrList(vcpu, entryLoadList);
  if (failed !== 0) failEntry(vcpu, exitReason.MSR_LOAD_FAIL, failed);
  else takeNotificationVector(vcpu);
}

/** L0 keeps HLT to itself: an L2 that starts in that state, with no event to wake it, is a halted vCPU. */
function enterActivityState(vcpu: Vcpu): void {
  const { vmcs12 } = vcpu.nested;
  const halts = vmcs12.read32(field.GUEST_ACTIVITY_STATE) === activityState.HLT;
  vcpu.vmcs02.write32(field.GUEST_ACTIVITY_STATE, activityState.ACTIVE);
  vcpu.halted = halts && !isValidEvent(vmcs12.read32(field.VM_ENTRY_INTR_INFO_FIELD));
}

/** Pages that vmcs12 uses and the merged MSR bitmap (nested_get_vmcs12_pages()). False: the vCPU stopped. */
export function loadNestedPages(vcpu: Vcpu): boolean {
  try {
    return drive(loadPages(vcpu));
  } catch (error) {
    if (!(error instanceof OperatingError) || error.code !== 'ENOMEM') throw error;
    vcpu.die(`L0 has no room for the pages of vmcs12: ${error.message}`);
    return false;
  }
}

function* loadPages(vcpu: Vcpu): Op<boolean> {
  const { nested, vmcs02 } = vcpu;
  const outcome = yield* nested.pages.program(nested.vmcs12, vmcs02);
  if (!outcome.ok) {
    const at = `gpa 0x${outcome.gpa.toString(16)}`;
    vcpu.die(`L0 cannot reach the ${outcome.role} page of vmcs12 at ${at}: ${outcome.code}`);
    return false;
  }
  yield* prepareMsrBitmap(vcpu);
  return true;
}

/** Without a readable bitmap of L1 every MSR access of L2 exits, and L0 decides byte by byte. */
function* prepareMsrBitmap(vcpu: Vcpu): Op<void> {
  const { nested, vmcs02 } = vcpu;
  const wanted = hasProc(nested.vmcs12, procBased.CPU_BASED_USE_MSR_BITMAPS);
  const merged = wanted && (isMergeCurrent(vcpu) || (yield* mergeMsrBitmap(vcpu)));
  nested.msrBitmapMergedUnder = merged ? nested.vmcs12.read32(field.SECONDARY_VM_EXEC_CONTROL) : NOT_MERGED;
  const change = merged ? setControl : clearControl;
  change(vmcs02, field.CPU_BASED_VM_EXEC_CONTROL, procBased.CPU_BASED_USE_MSR_BITMAPS);
}

/** An enlightened VMCS may vouch for L1's bitmap, but only for one that was merged, and under the same controls. */
function isMergeCurrent({ nested }: Vcpu): boolean {
  const controls = nested.vmcs12.read32(field.SECONDARY_VM_EXEC_CONTROL);
  return nested.msrBitmapIsClean && nested.msrBitmapMergedUnder === controls;
}

function* mergeMsrBitmap(vcpu: Vcpu): Op<boolean> {
  const { nested } = vcpu;
  const page = nested.pages.msrBitmap;
  const address = nested.pages.msrBitmapAddress(nested.vmcs12);
  for (;;) {
    if (!page.tryHold(address) && !(yield* page.hold(address)).ok) return false;
    if (page.beginUse()) break;
  }
  nested.msrBitmap.merge({ l1: page.view, l0: vcpu.msrBitmap01, vmcs12: nested.vmcs12 });
  page.endUse();
  page.release({ dirty: false });
  nested.msrBitmap.programInto(vcpu.vmcs02);
  return true;
}

/** L2 runs on the shadow of L1's EPT, or on L0's own EPT when L1 gives it none. */
function prepareTranslations(vcpu: Vcpu): void {
  const { nested, vmcs02, mmu } = vcpu;
  const { vmcs12 } = nested;
  const nestedEpt = hasSecondary(vmcs12, secondary.SECONDARY_EXEC_ENABLE_EPT);
  const tables = nestedEpt ? mmu.shadowOf(vmcs12.readAddress(field.EPT_POINTER)) : mmu.ept01;
  vmcs02.write64(field.EPT_POINTER, tables.pointer >>> 0, Math.floor(tables.pointer / 2 ** 32));
  const vpid = hasSecondary(vmcs12, secondary.SECONDARY_EXEC_ENABLE_VPID)
    ? vmcs12.read32(field.VIRTUAL_PROCESSOR_ID)
    : 0;
  if (vpid === 0 || vpid !== nested.lastVpid) vcpu.processor.invalidate({ kind: 'vpid', vpid: VPID02 });
  nested.lastVpid = vpid;
}

/**
 * L1 sent itself the notification vector before it entered L2: the interrupt becomes posted-interrupt processing
 * (KVM: 25bb2cf97139).
 */
function takeNotificationVector(vcpu: Vcpu): void {
  const { vmcs12 } = vcpu.nested;
  if (!hasPin(vmcs12, pinBased.PIN_BASED_POSTED_INTR)) return;
  const notification = vmcs12.read32(field.POSTED_INTR_NV);
  if (vcpu.apic.highestPending() !== notification) return;
  vcpu.apic.clearPending(notification);
  vcpu.nested.postedInterruptPending = true;
}

/** An entry that fails after the checks on controls and host state: L1 sees an exit, guest state is not saved. */
export function failEntry(vcpu: Vcpu, reason: number, qualification: number): void {
  recordFailedEntry(vcpu, { reason: (reason | EXIT_FAILED_VMENTRY) >>> 0, qualification });
  vcpu.nested.pages.release();
  vcpu.nested.guestMode = false;
  vcpu.nested.runPending = false;
  vcpu.halted = false;
  vcpu.vmcs = vcpu.vmcs01;
  loadVmcs12HostState(vcpu);
}
