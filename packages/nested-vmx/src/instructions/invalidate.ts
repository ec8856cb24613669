import { invalidateType, isCanonicalPair, vmInstructionError } from '@nvmx/vmx-fields';
import { PHYSICAL_ADDRESS_END } from '../mmu/physical-address.ts';
import { VPID02 } from '../nested/vmcs02.ts';
import type { Vcpu } from '../vcpu/vcpu.ts';
import { VmxOperand } from './operand.ts';
import { vmFail, vmSucceed } from './outcome.ts';
import { mayExecuteVmx } from './permission.ts';

/** INVEPT: what L0 merged from L1's EPT is out of date. */
export function handleInvept(vcpu: Vcpu): void {
  if (!mayExecuteVmx(vcpu)) return;
  const operand = new VmxOperand(vcpu);
  const type = operand.readRegister(operand.register2);
  if (type !== BigInt(invalidateType.EPT_ALL) && type !== BigInt(invalidateType.EPT_SINGLE)) {
    vmFail(vcpu, vmInstructionError.VMXERR_INVALID_OPERAND_TO_INVEPT_INVVPID);
    return;
  }
  const descriptor = operand.readMemory(16);
  if (descriptor === undefined) return;
  const eptp = new DataView(descriptor.buffer).getBigUint64(0, true);
  if (type === BigInt(invalidateType.EPT_ALL)) vcpu.mmu.dropShadow('all');
  else if (eptp < BigInt(PHYSICAL_ADDRESS_END)) {
    vcpu.mmu.dropShadow(Number(eptp));
  } else {
    vmFail(vcpu, vmInstructionError.VMXERR_INVALID_OPERAND_TO_INVEPT_INVVPID);
    return;
  }
  vmSucceed(vcpu);
}

/** INVVPID: L0 runs L2 under one VPID of its own, so that each type flushes that. */
export function handleInvvpid(vcpu: Vcpu): void {
  if (!mayExecuteVmx(vcpu)) return;
  const operand = new VmxOperand(vcpu);
  const type = operand.readRegister(operand.register2);
  if (type > BigInt(invalidateType.VPID_SINGLE_NON_GLOBAL)) {
    vmFail(vcpu, vmInstructionError.VMXERR_INVALID_OPERAND_TO_INVEPT_INVVPID);
    return;
  }
  const descriptor = operand.readMemory(16);
  if (descriptor === undefined) return;
  if (!isValidInvvpid(Number(type), new DataView(descriptor.buffer))) {
    vmFail(vcpu, vmInstructionError.VMXERR_INVALID_OPERAND_TO_INVEPT_INVVPID);
    return;
  }
  vcpu.processor.invalidate({ kind: 'vpid', vpid: VPID02 });
  vmSucceed(vcpu);
}

function isValidInvvpid(type: number, descriptor: DataView): boolean {
  const vpid = descriptor.getUint16(0, true);
  const reserved = descriptor.getUint16(2, true) | descriptor.getUint32(4, true);
  if (reserved !== 0) return false;
  if (type === invalidateType.VPID_ALL) return true;
  if (vpid === 0) return false;
  return type !== invalidateType.VPID_ADDRESS || isCanonicalPair(descriptor.getInt32(12, true), { addressBits: 48 });
}
