import {
  bigHigh,
  bigLow,
  type FieldAccess,
  type FieldRow,
  field,
  fieldByEncoding,
  fieldRows,
  pairToBig,
  vmInstructionError,
} from '@nvmx/vmx-fields';
import { NO_PHYSICAL_ADDRESS } from '../mmu/physical-address.ts';
import { dirtyGroup } from '../nested/nested-state.ts';
import { writeRegisterPair } from '../vcpu/guest-registers.ts';
import type { Vcpu } from '../vcpu/vcpu.ts';
import { littleEndian, VmxOperand } from './operand.ts';
import { vmFail, vmFailInvalid, vmSucceed } from './outcome.ts';
import { mayExecuteVmx } from './permission.ts';

/** Bits of an access-rights field that VMWRITE keeps. */
const ACCESS_RIGHTS_MASK = 0x1_f0ff;

/** The field that register `number` names: `undefined` when vmcs12 does not have it. */
function accessedField(vcpu: Vcpu, number: number): FieldAccess | undefined {
  const { registers } = vcpu.processor;
  if (registers.high(number) !== 0) return undefined;
  const access = fieldByEncoding(registers.low(number) >>> 0);
  return access?.row.vmcs12Offset === undefined ? undefined : access;
}

/** VMREAD. */
export function handleVmread(vcpu: Vcpu): void {
  if (!mayExecuteVmx(vcpu)) return;
  const { nested, vmcs } = vcpu;
  if (!nested.hasCurrentVmcs) {
    vmFailInvalid(vcpu);
    return;
  }
  const operand = new VmxOperand(vcpu);
  const access = accessedField(vcpu, operand.register2);
  if (access === undefined) {
    vmFail(vcpu, vmInstructionError.VMXERR_UNSUPPORTED_VMCS_COMPONENT);
    return;
  }
  const { words } = nested.vmcs12;
  const low = words[access.row.word + (access.high ? 1 : 0)];
  const high = access.high ? 0 : words[access.row.word + 1];
  if (operand.isRegister) {
    writeRegisterPair({ registers: vcpu.processor.registers, vmcs }, operand.register1, low, high);
  } else if (!operand.writeMemory(littleEndian(pairToBig(low, high)))) return;
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
  const memory = operand.isRegister ? 0n : operand.readPointer();
  if (memory === undefined) return;
  const access = accessedField(vcpu, operand.register2);
  if (access === undefined) {
    vmFail(vcpu, vmInstructionError.VMXERR_UNSUPPORTED_VMCS_COMPONENT);
    return;
  }
  const { registers } = vcpu.processor;
  const low = operand.isRegister ? registers.low(operand.register1) : bigLow(memory);
  const high = operand.isRegister ? registers.high(operand.register1) : bigHigh(memory);
  storeField(vcpu, access, low, high);
  vmSucceed(vcpu);
}

function storeField(vcpu: Vcpu, access: FieldAccess, low: number, high: number): void {
  const { row } = access;
  vcpu.nested.vmcs12.writeFieldPair(access, accessRightsWords.has(row.word) ? low & ACCESS_RIGHTS_MASK : low, high);
  vcpu.nested.dirty |= groupsThatRead(row);
}

/** Words of the fields of which VMWRITE keeps only the defined bits. */
const accessRightsWords: ReadonlySet<number> = new Set(
  fieldRows.filter((row) => row.name.endsWith('_AR_BYTES')).map((row) => row.word),
);

/** The rules on host and guest state read control fields too, and those on event injection read CR0. */
function groupsThatRead(row: FieldRow): number {
  if (row.type === 'control') return dirtyGroup.all;
  if (row.type === 'host state') return dirtyGroup.host;
  if (row.word === field.GUEST_CR0) return dirtyGroup.guest | dirtyGroup.controls;
  return row.type === 'guest state' ? dirtyGroup.guest : 0;
}
