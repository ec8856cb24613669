import { accessRights, exceptionVector, field, type Vmcs } from '@nvmx/vmx-fields';
import { exceptionEvent } from '../vcpu/event-info.ts';
import type { Vcpu } from '../vcpu/vcpu.ts';

export const privilegeOf = (vmcs: Vmcs): number => (vmcs.read32(field.GUEST_SS_AR_BYTES) & accessRights.DPL) >>> 5;

/** Queues the exception for L1. */
export function raise(vcpu: Vcpu, vector: number, errorCode?: number): false {
  vcpu.queueEvent(exceptionEvent(vector, errorCode));
  return false;
}

/** nested_vmx_check_permission(): false when #UD or #GP(0) is queued. */
export function mayExecuteVmx(vcpu: Vcpu): boolean {
  if (!vcpu.nested.vmxOn) return raise(vcpu, exceptionVector.UD);
  if (privilegeOf(vcpu.vmcs) !== 0) return raise(vcpu, exceptionVector.GP, 0);
  return true;
}
