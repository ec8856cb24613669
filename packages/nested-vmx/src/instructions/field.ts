import { type FieldAccess, type FieldRow, fieldByEncoding, vmInstructionError } from '@nvmx/vmx-fields';
import { NO_PHYSICAL_ADDRESS } from '../mmu/physical-address.ts';
import { dirtyGroup } from '../nested/nested-state.ts';
import type { Vcpu } from '../vcpu/vcpu.ts';
import { littleEndian, VmxOperand } from './operand.ts';
import { vmFail, vmFailInvalid, vmSucceed } from './outcome.ts';
import { mayExecuteVmx } from './permission.ts';

/** Bits of an access-rights field that VMWRITE keeps. */
const ACCESS_RIGHTS_MASK = 0x1_f0ffn;

/** The field that an operand of VMREAD or VMWRITE names: `undefined` when vmcs12 does not have it. */
function accessedField(encoding: bigint): FieldAccess | undefined {
  if (encoding >> 32n !== 0n) return undefined;
  const access = fieldByEncoding(Number(encoding));
  return access?.row.vmcs12Offset === undefined ? undefined : access;
}

/** VMREAD. */
export function handleVmread(vcpu: Vcpu): void {
  if (!mayExecuteVmx(vcpu)) return;
  if (!vcpu.nested.hasCurrentVmcs) {
    vmFailInvalid(vcpu);
    return;
  }
  const operand = new VmxOperand(vcpu);
  const access = accessedField(operand.readRegister(operand.register2));
  if (access === undefined) {
    vmFail(vcpu, vmInstructionError.VMXERR_UNSUPPORTED_VMCS_COMPONENT);
    return;
  }
  const value = vcpu.nested.vmcs12.readField(access);
  if (operand.isRegister) operand.writeRegister(operand.register1, value);
  else if (!operand.writeMemory(littleEndian(value))) return;
  vmSucceed(vcpu);
}

/** VMWRITE, which an enlightened VMCS does without. Exit information may be written too: IA32_VMX_MISC bit 29. */
export function handleVmwrite(vcpu: Vcpu): void {
  if (!mayExecuteVmx(vcpu)) return;
  if (vcpu.nested.currentVmptr === NO_PHYSICAL_ADDRESS) {
    vmFailInvalid(vcpu);
    return;
  }
  const operand = new VmxOperand(vcpu);
  const value = operand.isRegister ? operand.readRegister(operand.register1) : operand.readPointer();
  if (value === undefined) return;
  const access = accessedField(operand.readRegister(operand.register2));
  if (access === undefined) {
    vmFail(vcpu, vmInstructionError.VMXERR_UNSUPPORTED_VMCS_COMPONENT);
    return;
  }
  vcpu.nested.vmcs12.writeField(access, isAccessRights(access.row) ? value & ACCESS_RIGHTS_MASK : value);
  vcpu.nested.dirty |= groupOf(access.row);
  vmSucceed(vcpu);
}

const isAccessRights = (row: FieldRow): boolean => row.name.endsWith('_AR_BYTES');

function groupOf(row: FieldRow): number {
  if (row.type === 'control') return dirtyGroup.controls;
  if (row.type === 'host state') return dirtyGroup.host;
  return row.type === 'guest state' ? dirtyGroup.guest : 0;
}
