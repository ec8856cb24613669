import type { Vmcs } from '@nvmx/vmx-fields';
import { type ControlRegisterFields, readAsL2 } from '../nested/vmcs02.ts';

/** CR0 or CR4 as the guest of a VMCS reads it: bits that its host owns come from the read shadow. */
export function guestControlRegister(vmcs: Vmcs, fields: ControlRegisterFields): number {
  return readAsL2({
    value: vmcs.read32(fields.guest),
    mask: vmcs.read32(fields.mask),
    shadow: vmcs.read32(fields.shadow),
  });
}

/** Whether a control register has the bits that VMX operation fixes. */
export function fits(value: number, fixed: { readonly mustBeOne: number; readonly mayBeOne: number }): boolean {
  return (value & fixed.mustBeOne) >>> 0 === fixed.mustBeOne && (value & ~fixed.mayBeOne) === 0;
}
