import { field, procBased, type Vmcs } from '@nvmx/vmx-fields';

/** Whether a control word of a VMCS has one of the bits of `mask`. */
export function hasControl(vmcs: Vmcs, word: number, mask: number): boolean {
  return (vmcs.read32(word) & mask) !== 0;
}

/**
 * Whether all secondary controls of `mask` are in force: they count only when the primary controls activate them.
 */
export function hasSecondary(vmcs: Vmcs, mask: number): boolean {
  return (
    hasControl(vmcs, field.CPU_BASED_VM_EXEC_CONTROL, procBased.CPU_BASED_ACTIVATE_SECONDARY_CONTROLS) &&
    (vmcs.read32(field.SECONDARY_VM_EXEC_CONTROL) & mask) === mask
  );
}

/** Whether a primary control is set. */
export function hasProc(vmcs: Vmcs, mask: number): boolean {
  return hasControl(vmcs, field.CPU_BASED_VM_EXEC_CONTROL, mask);
}

/** Whether a pin-based control is set. */
export function hasPin(vmcs: Vmcs, mask: number): boolean {
  return hasControl(vmcs, field.PIN_BASED_VM_EXEC_CONTROL, mask);
}

export function setControl(vmcs: Vmcs, word: number, mask: number): void {
  vmcs.write32(word, vmcs.read32(word) | mask);
}

export function clearControl(vmcs: Vmcs, word: number, mask: number): void {
  vmcs.write32(word, vmcs.read32(word) & ~mask);
}
