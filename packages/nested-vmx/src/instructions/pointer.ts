import { drive } from '@nvmx/sync';
import { vmcs12Layout, vmInstructionError } from '@nvmx/vmx-fields';
import type { Vcpu } from '../vcpu/vcpu.ts';
import { littleEndian, VmxOperand } from './operand.ts';
import { vmFail, vmSucceed } from './outcome.ts';
import { mayExecuteVmx } from './permission.ts';
import { loadVmcs12, pageAddress, releaseVmcs12 } from './region.ts';

const LAUNCH_STATE_CLEAR = new Uint8Array(4);
/** What VMPTRST shows without a current VMCS. */
const NO_POINTER = 0xffff_ffff_ffff_ffffn;

/** VMCLEAR. */
export function handleVmclear(vcpu: Vcpu): void {
  if (!mayExecuteVmx(vcpu)) return;
  const pointer = new VmxOperand(vcpu).readPointer();
  if (pointer === undefined) return;
  const address = pageAddress(pointer);
  if (address === undefined) {
    vmFail(vcpu, vmInstructionError.VMXERR_VMCLEAR_INVALID_ADDRESS);
    return;
  }
  if (address === vcpu.nested.vmxonPointer) {
    vmFail(vcpu, vmInstructionError.VMXERR_VMCLEAR_VMXON_POINTER);
    return;
  }
  if (isEnlightened(vcpu, address)) {
    vmSucceed(vcpu);
    return;
  }
  if (address === vcpu.nested.currentVmptr) {
    releaseVmcs12(vcpu);
    drive(vcpu.nested.pages.deactivate());
  }
  vcpu.memory.copyTo(address + vmcs12Layout.launch_state.offset, LAUNCH_STATE_CLEAR);
  vmSucceed(vcpu);
}

/**
 * An L1 that names an enlightened VMCS in its VP assist page has no launch state to clear: VMCLEAR of that page only makes
 * it no longer current (nested_evmcs_handle_vmclear()).
 */
function isEnlightened(vcpu: Vcpu, address: number): boolean {
  if (vcpu.hyperv.currentNestedVmcs() === undefined) return false;
  if (vcpu.nested.evmcs.names(address)) drive(vcpu.nested.evmcs.release());
  return true;
}

/** VMPTRLD. */
export function handleVmptrld(vcpu: Vcpu): void {
  if (!mayExecuteVmx(vcpu)) return;
  const pointer = new VmxOperand(vcpu).readPointer();
  if (pointer === undefined) return;
  const address = pageAddress(pointer);
  if (address === undefined) {
    vmFail(vcpu, vmInstructionError.VMXERR_VMPTRLD_INVALID_ADDRESS);
    return;
  }
  if (address === vcpu.nested.vmxonPointer) {
    vmFail(vcpu, vmInstructionError.VMXERR_VMPTRLD_VMXON_POINTER);
    return;
  }
  // Unlike handle_vmptrld(), which refuses without a word while an enlightened VMCS is current: it stops being current.
  drive(vcpu.nested.evmcs.release());
  if (address !== vcpu.nested.currentVmptr && !loadVmcs12(vcpu, address)) {
    vmFail(vcpu, vmInstructionError.VMXERR_VMPTRLD_INCORRECT_VMCS_REVISION_ID);
    return;
  }
  vmSucceed(vcpu);
}

/** VMPTRST. */
export function handleVmptrst(vcpu: Vcpu): void {
  if (!mayExecuteVmx(vcpu)) return;
  const { nested } = vcpu;
  const pointer = nested.hasCurrentVmcs ? BigInt(nested.currentVmptr) : NO_POINTER;
  if (new VmxOperand(vcpu).writeMemory(littleEndian(pointer))) vmSucceed(vcpu);
}
