import { drive } from '@nvmx/sync';
import {
  exceptionVector,
  exitReason,
  field,
  interruptibility,
  interruptionInfo,
  pinBased,
  procBased,
  rflags,
  secondary,
  vmExit,
} from '@nvmx/vmx-fields';
import { hasControl, hasPin, hasSecondary, setControl } from '../controls.ts';
import type { LinearOutcome } from '../mmu/l1-linear.ts';
import { nestedVmexit } from '../nested/nested-exit.ts';
import { completePostedInterrupts, hasVirtualInterrupt } from '../pages/posted-interrupts.ts';
import {
  exceptionEvent,
  type InjectedEvent,
  interruptEvent,
  isSoftwareEvent,
  isValidEvent,
  vectorOf,
} from './event-info.ts';
import type { Vcpu } from './vcpu.ts';

const BLOCKING = interruptibility.STI | interruptibility.MOV_SS;
const PAGE_FAULT_CODE_MASK = 0xffff;

/** The event that the next VM entry delivers, at most one. */
export class EventQueue {
  #pending: InjectedEvent | undefined;

  get isEmpty(): boolean {
    return this.#pending === undefined;
  }

  set(event: InjectedEvent): void {
    this.#pending = event;
  }

  take(): InjectedEvent | undefined {
    const event = this.#pending;
    this.#pending = undefined;
    return event;
  }

  /** An exception of the guest that runs. One of L2 that L1 intercepts is an exit to L1. */
  raise(vcpu: Vcpu, event: InjectedEvent): void {
    if (vcpu.nested.guestMode && l1Intercepts(vcpu, event)) {
      nestedVmexit(vcpu, exceptionExit(event, { low: 0, high: 0 }));
      return;
    }
    this.#pending = event;
  }

  raisePageFault(vcpu: Vcpu, fault: Extract<LinearOutcome, { ok: false }>): void {
    const event = exceptionEvent(exceptionVector.PF, fault.errorCode);
    if (vcpu.nested.guestMode && l1Intercepts(vcpu, event)) {
      nestedVmexit(
        vcpu,
        exceptionExit(event, {
          low: Number(fault.address & 0xffff_ffffn),
          high: Number(fault.address >> 32n),
        }),
      );
      return;
    }
    vcpu.processor.setCr2(Number(BigInt.asIntN(32, fault.address)), Number(BigInt.asIntN(32, fault.address >> 32n)));
    this.#pending = event;
  }
}

function exceptionExit(event: InjectedEvent, qualification: { readonly low: number; readonly high: number }) {
  return {
    reason: exitReason.EXCEPTION_NMI,
    qualification,
    interruptionInfo: event.info >>> 0,
    interruptionErrorCode: event.errorCode,
  };
}

/** Whether vmcs12 intercepts an exception of L2: its bitmap decides, for #PF together with mask and match. */
export function l1Intercepts(vcpu: Vcpu, event: Pick<InjectedEvent, 'info' | 'errorCode'>): boolean {
  const { vmcs12 } = vcpu.nested;
  const vector = vectorOf(event.info);
  const inBitmap = ((vmcs12.read32(field.EXCEPTION_BITMAP) >>> vector) & 1) === 1;
  if (vector !== exceptionVector.PF) return inBitmap;
  return inBitmap === matchesPageFault(vcpu, event.errorCode);
}

/** Whether a page-fault error code is one that the mask and match of vmcs12 select. */
function matchesPageFault(vcpu: Vcpu, errorCode: number): boolean {
  const { vmcs12 } = vcpu.nested;
  const masked = errorCode & PAGE_FAULT_CODE_MASK & vmcs12.read32(field.PAGE_FAULT_ERROR_CODE_MASK);
  return masked >>> 0 === vmcs12.read32(field.PAGE_FAULT_ERROR_CODE_MATCH);
}

/**
 * V2: posted interrupts first, then the highest interrupt of L1's local APIC (vmx_check_nested_events()).
 * False: the entry may only deliver what is already under way, because an interrupt waits for it to be over.
 */
export function deliverEvents(vcpu: Vcpu): boolean {
  if (vcpu.nested.guestMode && vcpu.nested.postedInterruptPending) completePosted(vcpu);
  if (vcpu.halted && vcpu.nested.guestMode) wakeForVirtualInterrupt(vcpu);
  const vector = vcpu.apic.highestPending();
  if (vector < 0) return true;
  if (!vcpu.nested.guestMode || !hasPin(vcpu.nested.vmcs12, pinBased.PIN_BASED_EXT_INTR_MASK)) {
    injectInterrupt(vcpu, vector);
    return true;
  }
  if (isNotification(vcpu, vector)) {
    vcpu.apic.clearPending(vector);
    vcpu.nested.postedInterruptPending = true;
    return deliverEvents(vcpu);
  }
  if (vcpu.nested.runPending || !vcpu.events.isEmpty) return false;
  exitForInterrupt(vcpu, vector);
  return true;
}

function completePosted(vcpu: Vcpu): void {
  vcpu.nested.postedInterruptPending = false;
  const outcome = drive(completePostedInterrupts(vcpu.nested.pages, vcpu.vmcs02));
  if (outcome === 'unreachable') vcpu.die('L0 cannot reach the posted-interrupt descriptor or the virtual-APIC page');
}

/** An L2 that halted is woken by a virtual interrupt that it would take, also by one that was there before the HLT. */
function wakeForVirtualInterrupt(vcpu: Vcpu): void {
  const { nested, vmcs02 } = vcpu;
  if (!hasSecondary(nested.vmcs12, secondary.SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY)) return;
  if ((vmcs02.read32(field.GUEST_RFLAGS) & rflags.IF) === 0) return;
  if (drive(hasVirtualInterrupt(nested.pages, vmcs02))) vcpu.halted = false;
}

function isNotification(vcpu: Vcpu, vector: number): boolean {
  const { vmcs12 } = vcpu.nested;
  return hasPin(vmcs12, pinBased.PIN_BASED_POSTED_INTR) && vmcs12.read32(field.POSTED_INTR_NV) === vector;
}

/** The exit that L1 asked for; with "acknowledge interrupt on exit" the vector is taken out of L1's APIC. */
function exitForInterrupt(vcpu: Vcpu, vector: number): void {
  const acknowledges = hasControl(vcpu.nested.vmcs12, field.VM_EXIT_CONTROLS, vmExit.VM_EXIT_ACK_INTR_ON_EXIT);
  if (acknowledges) vcpu.apic.acknowledge(vector);
  nestedVmexit(vcpu, {
    reason: exitReason.EXTERNAL_INTERRUPT,
    interruptionInfo: acknowledges ? interruptEvent(vector).info >>> 0 : 0,
  });
}

/** Delivers through the guest's IDT now, or at the first moment when it takes interrupts. */
function injectInterrupt(vcpu: Vcpu, vector: number): void {
  const { vmcs, events } = vcpu;
  const open =
    (vmcs.read32(field.GUEST_RFLAGS) & rflags.IF) !== 0 &&
    (vmcs.read32(field.GUEST_INTERRUPTIBILITY_INFO) & BLOCKING) === 0;
  if (!open || !events.isEmpty || vcpu.nested.runPending) {
    setControl(vmcs, field.CPU_BASED_VM_EXEC_CONTROL, procBased.CPU_BASED_INTR_WINDOW_EXITING);
    return;
  }
  vcpu.apic.acknowledge(vector);
  vcpu.halted = false;
  events.set(interruptEvent(vector));
}

/** Writes the pending event into the VMCS that is about to be entered. */
export function programInjection(vcpu: Vcpu): void {
  const event = vcpu.events.take();
  if (event === undefined) return;
  const { vmcs } = vcpu;
  vmcs.write32(field.VM_ENTRY_INTR_INFO_FIELD, event.info);
  vmcs.write32(field.VM_ENTRY_EXCEPTION_ERROR_CODE, event.errorCode);
  vmcs.write32(field.VM_ENTRY_INSTRUCTION_LEN, event.instructionBytes);
}

/** An exit that interrupted the delivery of an event leaves it to be delivered again (vmx_complete_interrupts()). */
export function completeVectoring(vcpu: Vcpu): void {
  const { vmcs } = vcpu;
  const info = vmcs.read32(field.IDT_VECTORING_INFO_FIELD);
  if (!isValidEvent(info)) return;
  vcpu.events.set({
    info: info & ~interruptionInfo.NMI_UNBLOCKING,
    errorCode: vmcs.read32(field.IDT_VECTORING_ERROR_CODE),
    instructionBytes: isSoftwareEvent(info) ? vmcs.read32(field.VM_EXIT_INSTRUCTION_LEN) : 0,
  });
}
