import { RAX } from '@nvmx/x86';
import { skipInstruction } from '../vcpu/guest-registers.ts';
import type { Vcpu } from '../vcpu/vcpu.ts';

/** What KVM returns for a hypercall that it does not have. */
const KVM_ENOSYS = -1000n;

/** VMCALL of L1 itself: a hypercall that this L0 does not have (KVM_ENOSYS). */
export function handleVmcall(vcpu: Vcpu): void {
  vcpu.processor.registers.setBig(RAX, KVM_ENOSYS);
  skipInstruction(vcpu.vmcs);
}
