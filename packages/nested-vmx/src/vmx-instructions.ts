import { drive } from '@nvmx/sync';
import {
  accessRights,
  cr0,
  cr4,
  decodeVmcs12,
  encodeVmcs12,
  exceptionVector,
  type FieldAccess,
  type FieldRow,
  featureControl,
  field,
  fieldByEncoding,
  invalidateType,
  isCanonicalPair,
  msr,
  rflags,
  VMCS12_BYTES,
  VMCS12_REVISION,
  type Vmcs,
  vmcs12Layout,
  vmInstructionError,
} from '@nvmx/vmx-fields';
import { fixedBits } from './capabilities.ts';
import { exceptionEvent } from './event-info.ts';
import { skipInstruction } from './guest-registers.ts';
import { dirtyGroup } from './nested-state.ts';
import { isAligned, NO_PHYSICAL_ADDRESS, PHYSICAL_ADDRESS_END } from './physical-address.ts';
import type { Vcpu } from './vcpu.ts';
import { readAsL2, VPID02 } from './vmcs02.ts';
import { VmxOperand } from './vmx-operand.ts';

const ARITHMETIC_FLAGS = rflags.CF | rflags.PF | rflags.AF | rflags.ZF | rflags.SF | rflags.OF;
const PAGE_BYTES = 4096;
const SHADOW_VMCS_INDICATOR = 0x8000_0000;
const LAUNCH_STATE_CLEAR = new Uint8Array(4);
/** Bits of an access-rights field that VMWRITE keeps. */
const ACCESS_RIGHTS_MASK = 0x1_f0ffn;
/** What VMPTRST shows without a current VMCS. */
const NO_POINTER = 0xffff_ffff_ffff_ffffn;

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
  setArithmeticFlags(vcpu.vmcs, rflags.ZF);
  skipInstruction(vcpu.vmcs);
}

function setArithmeticFlags(vmcs: Vmcs, flags: number): void {
  vmcs.write32(field.GUEST_RFLAGS, (vmcs.read32(field.GUEST_RFLAGS) & ~ARITHMETIC_FLAGS) | flags);
}

/** CR4 as L1 reads it: L0 keeps VMXE set in the register itself. */
function guestCr4(vmcs: Vmcs): number {
  return readAsL2({
    value: vmcs.read32(field.GUEST_CR4),
    mask: vmcs.read32(field.CR4_GUEST_HOST_MASK),
    shadow: vmcs.read32(field.CR4_READ_SHADOW),
  });
}

function guestCr0(vmcs: Vmcs): number {
  return readAsL2({
    value: vmcs.read32(field.GUEST_CR0),
    mask: vmcs.read32(field.CR0_GUEST_HOST_MASK),
    shadow: vmcs.read32(field.CR0_READ_SHADOW),
  });
}

const privilegeOf = (vmcs: Vmcs): number => (vmcs.read32(field.GUEST_SS_AR_BYTES) & accessRights.DPL) >>> 5;

function raise(vcpu: Vcpu, vector: number, errorCode?: number): false {
  vcpu.queueEvent(exceptionEvent(vector, errorCode));
  return false;
}

/** nested_vmx_check_permission(): false when #UD or #GP(0) is queued. */
export function mayExecuteVmx(vcpu: Vcpu): boolean {
  if (!vcpu.nested.vmxOn) return raise(vcpu, exceptionVector.UD);
  if (privilegeOf(vcpu.vmcs) !== 0) return raise(vcpu, exceptionVector.GP, 0);
  return true;
}

/** VMXON (SDM volume 3, "VMXON"). */
export function handleVmxon(vcpu: Vcpu): void {
  const { vmcs, nested } = vcpu;
  if ((guestCr4(vmcs) & cr4.VMXE) === 0 || (guestCr0(vmcs) & cr0.PE) === 0) {
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
  return enabled === wanted && fits(guestCr0(vcpu.vmcs), fixedBits.cr0) && fits(guestCr4(vcpu.vmcs), fixedBits.cr4);
}

/** Whether a control register has the bits that VMX operation fixes. */
export function fits(value: number, fixed: { readonly mustBeOne: number; readonly mayBeOne: number }): boolean {
  return (value & fixed.mustBeOne) >>> 0 === fixed.mustBeOne && (value & ~fixed.mayBeOne) === 0;
}

/** A pointer to a VMCS or VMXON region: page-aligned and within the physical-address width. */
function pageAddress(pointer: bigint): number | undefined {
  if (pointer >= BigInt(PHYSICAL_ADDRESS_END)) return undefined;
  const address = Number(pointer);
  return isAligned(address, PAGE_BYTES) ? address : undefined;
}

/** The first word of a region: revision identifier and shadow-VMCS indicator. -1 where no memory is. */
function revisionAt(vcpu: Vcpu, address: number): number {
  const bytes = new Uint8Array(4);
  if (!vcpu.memory.copyFrom(address, bytes)) return -1;
  return new DataView(bytes.buffer).getUint32(0, true);
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
  drive(nested.pages.deactivate());
  nested.vmxOn = false;
  nested.vmxonPointer = NO_PHYSICAL_ADDRESS;
  nested.postedInterruptPending = false;
}

/** Writes the current vmcs12 back into L1's memory; no VMCS is current afterwards (nested_release_vmcs12()). */
function releaseVmcs12(vcpu: Vcpu): void {
  const { nested } = vcpu;
  if (!nested.hasCurrentVmcs) return;
  const region = new Uint8Array(VMCS12_BYTES);
  const header = { revision: VMCS12_REVISION, shadow: false, abort: 0, launchState: nested.launched ? 1 : 0 };
  encodeVmcs12(nested.vmcs12, header, region);
  vcpu.memory.copyTo(nested.currentVmptr, region);
  nested.currentVmptr = NO_PHYSICAL_ADDRESS;
}

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
  if (address === vcpu.nested.currentVmptr) {
    releaseVmcs12(vcpu);
    drive(vcpu.nested.pages.deactivate());
  }
  vcpu.memory.copyTo(address + vmcs12Layout.launch_state.offset, LAUNCH_STATE_CLEAR);
  vmSucceed(vcpu);
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
  if (address !== vcpu.nested.currentVmptr && !loadVmcs12(vcpu, address)) {
    vmFail(vcpu, vmInstructionError.VMXERR_VMPTRLD_INCORRECT_VMCS_REVISION_ID);
    return;
  }
  vmSucceed(vcpu);
}

/** Reads the VMCS at `address` and makes it current. False: no memory, or a revision that is not L0's. */
function loadVmcs12(vcpu: Vcpu, address: number): boolean {
  const { nested } = vcpu;
  const region = new Uint8Array(VMCS12_BYTES);
  if (!vcpu.memory.copyFrom(address, region)) return false;
  const revision = new DataView(region.buffer).getUint32(0, true);
  if (revision !== VMCS12_REVISION || (revision & SHADOW_VMCS_INDICATOR) !== 0) return false;
  releaseVmcs12(vcpu);
  nested.launched = decodeVmcs12(region, nested.vmcs12).launchState !== 0;
  nested.currentVmptr = address;
  nested.dirty = dirtyGroup.all;
  return true;
}

/** VMPTRST. */
export function handleVmptrst(vcpu: Vcpu): void {
  if (!mayExecuteVmx(vcpu)) return;
  const { nested } = vcpu;
  const bytes = new Uint8Array(8);
  const pointer = nested.hasCurrentVmcs ? BigInt(nested.currentVmptr) : NO_POINTER;
  new DataView(bytes.buffer).setBigUint64(0, pointer, true);
  if (new VmxOperand(vcpu).writeMemory(bytes)) vmSucceed(vcpu);
}

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

function littleEndian(value: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  return bytes;
}

/** VMWRITE. Exit information may be written too: IA32_VMX_MISC bit 29. */
export function handleVmwrite(vcpu: Vcpu): void {
  if (!mayExecuteVmx(vcpu)) return;
  if (!vcpu.nested.hasCurrentVmcs) {
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

/** INVEPT: what L0 merged from L1's EPT is out of date. */
export function handleInvept(vcpu: Vcpu): void {
  if (!mayExecuteVmx(vcpu)) return;
  const operand = new VmxOperand(vcpu);
  const type = operand.readRegister(operand.register2);
  const descriptor = operand.readMemory(16);
  if (descriptor === undefined) return;
  const eptp = new DataView(descriptor.buffer).getBigUint64(0, true);
  if (type === BigInt(invalidateType.EPT_ALL)) vcpu.mmu.dropShadow('all');
  else if (type === BigInt(invalidateType.EPT_SINGLE) && eptp < BigInt(PHYSICAL_ADDRESS_END)) {
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
  const descriptor = operand.readMemory(16);
  if (descriptor === undefined) return;
  const view = new DataView(descriptor.buffer);
  if (!isValidInvvpid(Number(type), view) || type > BigInt(invalidateType.VPID_SINGLE_NON_GLOBAL)) {
    vmFail(vcpu, vmInstructionError.VMXERR_INVALID_OPERAND_TO_INVEPT_INVVPID);
    return;
  }
  vcpu.processor.invalidate({ vpid: VPID02 });
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

/** VMCALL of L1 itself: a hypercall that this L0 does not have (KVM_ENOSYS). */
export function handleVmcall(vcpu: Vcpu): void {
  const KVM_ENOSYS = -1000n;
  vcpu.processor.registers.setBig(0, KVM_ENOSYS);
  skipInstruction(vcpu.vmcs);
}
