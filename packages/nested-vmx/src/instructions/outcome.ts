import { field, rflags, type Vmcs } from '@nvmx/vmx-fields';
import { skipInstruction } from '../vcpu/guest-registers.ts';
import type { Vcpu } from '../vcpu/vcpu.ts';

const ARITHMETIC_FLAGS = rflags.CF | rflags.PF | rflags.AF | rflags.ZF | rflags.SF | rflags.OF;

/** The outcomes of a VMX instruction (SDM volume 3, "Conventions"). */
export function vmSucceed(vcpu: Vcpu): void {
  setArithmeticFlags(vcpu.vmcs, 0);
  skipInstruction(vcpu.vmcs);
}

export function vmFailInvalid(vcpu: Vcpu): void {
  setArithmeticFlags(vcpu.vmcs, rflags.CF);
  skipInstruction(vcpu.vmcs);
}

/** VMfailValid where there is a current VMCS to hold the error, VMfailInvalid elsewhere. */
export function vmFail(vcpu: Vcpu, error: number): void {
  if (!vcpu.nested.hasCurrentVmcs) {
    vmFailInvalid(vcpu);
    return;
  }
  vcpu.nested.vmcs12.write32(field.VM_INSTRUCTION_ERROR, error);
  vcpu.nested.evmcs.requestSync();
  setArithmeticFlags(vcpu.vmcs, rflags.ZF);
  skipInstruction(vcpu.vmcs);
}

function setArithmeticFlags(vmcs: Vmcs, flags: number): void {
  vmcs.write32(field.GUEST_RFLAGS, (vmcs.read32(field.GUEST_RFLAGS) & ~ARITHMETIC_FLAGS) | flags);
}
