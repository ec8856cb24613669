import { drive } from '@nvmx/sync';
import { cr0, cr4, exceptionVector, featureControl, msr, VMCS12_REVISION, vmInstructionError } from '@nvmx/vmx-fields';
import { fixedBits } from '../capabilities.ts';
import { fits, guestControlRegister } from '../exits/control-register-values.ts';
import { NO_PHYSICAL_ADDRESS } from '../mmu/physical-address.ts';
import { controlRegister0, controlRegister4 } from '../nested/vmcs02.ts';
import type { Vcpu } from '../vcpu/vcpu.ts';
import { VmxOperand } from './operand.ts';
import { vmFail, vmFailInvalid, vmSucceed } from './outcome.ts';
import { mayExecuteVmx, privilegeOf, raise } from './permission.ts';
import { pageAddress, releaseVmcs12, revisionAt } from './region.ts';

/** VMXON (SDM volume 3, "VMXON"). */
export function handleVmxon(vcpu: Vcpu): void {
  const { vmcs, nested } = vcpu;
  if (
    (guestControlRegister(vmcs, controlRegister4) & cr4.VMXE) === 0 ||
    (guestControlRegister(vmcs, controlRegister0) & cr0.PE) === 0
  ) {
    raise(vcpu, exceptionVector.UD);
    return;
  }
  if (privilegeOf(vmcs) !== 0) {
    raise(vcpu, exceptionVector.GP, 0);
    return;
  }
  if (nested.vmxOn) {
    vmFail(vcpu, vmInstructionError.VMXERR_VMXON_IN_VMX_ROOT_OPERATION);
    return;
  }
  if (!mayEnterVmxOperation(vcpu)) {
    raise(vcpu, exceptionVector.GP, 0);
    return;
  }
  const pointer = new VmxOperand(vcpu).readPointer();
  if (pointer === undefined) return;
  const region = pageAddress(pointer);
  if (region === undefined || revisionAt(vcpu, region) !== VMCS12_REVISION) {
    vmFailInvalid(vcpu);
    return;
  }
  nested.vmxOn = true;
  nested.vmxonPointer = region;
  vmSucceed(vcpu);
}

function mayEnterVmxOperation(vcpu: Vcpu): boolean {
  const wanted = BigInt(featureControl.LOCKED | featureControl.VMX_OUTSIDE_SMX);
  const enabled = (vcpu.msrs.read(msr.IA32_FEATURE_CONTROL) ?? 0n) & wanted;
  return (
    enabled === wanted &&
    fits(guestControlRegister(vcpu.vmcs, controlRegister0), fixedBits.cr0) &&
    fits(guestControlRegister(vcpu.vmcs, controlRegister4), fixedBits.cr4)
  );
}

/** VMXOFF. */
export function handleVmxoff(vcpu: Vcpu): void {
  if (!mayExecuteVmx(vcpu)) return;
  freeNested(vcpu);
  vmSucceed(vcpu);
}

/** Leaves VMX operation and gives up every page (free_nested()). */
export function freeNested(vcpu: Vcpu): void {
  const { nested } = vcpu;
  releaseVmcs12(vcpu);
  drive(nested.evmcs.release());
  drive(nested.pages.deactivate());
  nested.vmxOn = false;
  nested.vmxonPointer = NO_PHYSICAL_ADDRESS;
  nested.postedInterruptPending = false;
}
