import { cr0, cr4, crAccess, crAccessType, efer, exceptionVector, field, vmEntry } from '@nvmx/vmx-fields';
import { fixedBits } from '../capabilities.ts';
import { clearControl, setControl } from '../controls.ts';
import { PHYSICAL_ADDRESS_BITS } from '../mmu/physical-address.ts';
import { type ControlRegisterFields, controlRegister0, controlRegister4 } from '../nested/vmcs02.ts';
import { exceptionEvent } from '../vcpu/event-info.ts';
import { readRegister, skipInstruction, writeRegister } from '../vcpu/guest-registers.ts';
import type { Vcpu } from '../vcpu/vcpu.ts';
import { fits, guestControlRegister } from './control-register-values.ts';

const CR0_KNOWN = cr0.PE | cr0.MP | cr0.EM | cr0.TS | cr0.ET | cr0.NE | cr0.WP | cr0.AM | cr0.NW | cr0.CD | cr0.PG;
const LMSW_BITS = cr0.PE | cr0.MP | cr0.EM | cr0.TS;
const CR8_SHIFT = 4;
const CR8_LAST = 15n;

/** A control-register access in the format of the exit qualification. */
export interface CrAccess {
  readonly number: number;
  readonly type: number;
  readonly register: number;
  readonly lmswSource: number;
}

export function decodeCrAccess(qualification: number): CrAccess {
  return {
    number: qualification & crAccess.NUMBER,
    type: (qualification & crAccess.TYPE) >>> 4,
    register: (qualification & crAccess.GPR) >>> 8,
    lmswSource: qualification >>> 16,
  };
}

/** The value that a MOV to CR0, CLTS or LMSW asks for, of the low 32 bits. `current` is CR0 as the guest reads it. */
export function requestedCr0(o: {
  readonly access: CrAccess;
  readonly source: number;
  readonly current: number;
}): number {
  switch (o.access.type) {
    case crAccessType.CLTS:
      return o.current & ~cr0.TS;
    case crAccessType.LMSW:
      return (o.current & ~(LMSW_BITS & ~cr0.PE)) | (o.access.lmswSource & LMSW_BITS);
    default:
      return o.source;
  }
}

/** An access that L0 owns: carries it out for the guest that made it. */
export function handleCrAccess(vcpu: Vcpu): void {
  const access = decodeCrAccess(vcpu.vmcs.read32(field.EXIT_QUALIFICATION));
  const registers = { registers: vcpu.processor.registers, vmcs: vcpu.vmcs };
  if (access.type === crAccessType.MOV_FROM) {
    const value = access.number === 8 ? readCr8(vcpu) : vcpu.vmcs.readBig(field.GUEST_CR3);
    writeRegister(registers, access.register, value);
    skipInstruction(vcpu.vmcs);
    return;
  }
  const isMove = access.type === crAccessType.MOV_TO;
  const source = isMove ? readRegister(registers, access.register) : 0n;
  if (carryOut(vcpu, access, source)) skipInstruction(vcpu.vmcs);
  else vcpu.queueEvent(exceptionEvent(exceptionVector.GP, 0));
}

function carryOut(vcpu: Vcpu, access: CrAccess, source: bigint): boolean {
  switch (access.number) {
    case 0: {
      const current = guestControlRegister(vcpu.vmcs, controlRegister0);
      const value = requestedCr0({ access, source: Number(source & 0xffff_ffffn), current });
      return source >> 32n === 0n && setCr0(vcpu, value);
    }
    case 3:
      return setCr3(vcpu, source);
    case 4:
      return source >> 32n === 0n && setCr4(vcpu, Number(source));
    case 8:
      return setCr8(vcpu, source);
    default:
      return false;
  }
}

function readCr8(vcpu: Vcpu): bigint {
  return BigInt(vcpu.apic.taskPriority >>> CR8_SHIFT);
}

/** False: #GP(0), for a reserved bit. */
function setCr8(vcpu: Vcpu, value: bigint): boolean {
  if (value > CR8_LAST) return false;
  vcpu.apic.taskPriority = Number(value) << CR8_SHIFT;
  return true;
}

/** False: #GP(0). Long mode follows CR0.PG. */
function setCr0(vcpu: Vcpu, value: number): boolean {
  const { vmcs } = vcpu;
  if ((value & ~CR0_KNOWN) !== 0 && value >>> 0 !== value) return false;
  if ((value & cr0.PG) !== 0 && (value & cr0.PE) === 0) return false;
  if ((value & cr0.NW) !== 0 && (value & cr0.CD) === 0) return false;
  if (vcpu.nested.vmxOn && !fits(value >>> 0, fixedBits.cr0)) return false;
  if (!switchLongMode(vcpu, (value & cr0.PG) !== 0)) return false;
  vmcs.write64(field.GUEST_CR0, underL1(vcpu, controlRegister0, (value & CR0_KNOWN) | cr0.ET | cr0.NE), 0);
  vmcs.write64(field.CR0_READ_SHADOW, (value & CR0_KNOWN) | cr0.ET, 0);
  vcpu.processor.invalidate({ kind: 'vpid', vpid: vmcs.read32(field.VIRTUAL_PROCESSOR_ID) });
  return true;
}

function switchLongMode(vcpu: Vcpu, paging: boolean): boolean {
  const { vmcs } = vcpu;
  const value = vmcs.read32(field.GUEST_IA32_EFER);
  const longMode = paging && (value & efer.LME) !== 0;
  if (longMode && (vmcs.read32(field.GUEST_CR4) & cr4.PAE) === 0) return false;
  vmcs.write64(field.GUEST_IA32_EFER, longMode ? value | efer.LMA : value & ~efer.LMA, 0);
  if (longMode) setControl(vmcs, field.VM_ENTRY_CONTROLS, vmEntry.VM_ENTRY_IA32E_MODE);
  else clearControl(vmcs, field.VM_ENTRY_CONTROLS, vmEntry.VM_ENTRY_IA32E_MODE);
  return true;
}

/** Of a register that L2 writes, bits that L1 owns stay as L1 left them. */
function underL1(vcpu: Vcpu, fields: ControlRegisterFields, value: number): number {
  if (!vcpu.nested.guestMode) return value;
  const { vmcs12 } = vcpu.nested;
  const mask = vmcs12.read32(fields.mask);
  return (value & ~mask) | (vmcs12.read32(fields.guest) & mask);
}

function setCr3(vcpu: Vcpu, value: bigint): boolean {
  if (value >> BigInt(PHYSICAL_ADDRESS_BITS) !== 0n) return false;
  vcpu.vmcs.writeBig(field.GUEST_CR3, value);
  vcpu.processor.invalidate({ kind: 'vpid', vpid: vcpu.vmcs.read32(field.VIRTUAL_PROCESSOR_ID) });
  return true;
}

/** False: #GP(0). */
function setCr4(vcpu: Vcpu, value: number): boolean {
  const { vmcs } = vcpu;
  if ((value & ~fixedBits.cr4.mayBeOne) !== 0) return false;
  if (vcpu.nested.vmxOn && !fits(value, fixedBits.cr4)) return false;
  const longMode = (vmcs.read32(field.GUEST_IA32_EFER) & efer.LMA) !== 0;
  if (longMode && (value & cr4.PAE) === 0) return false;
  vmcs.write64(field.GUEST_CR4, underL1(vcpu, controlRegister4, value | cr4.VMXE), 0);
  vmcs.write64(field.CR4_READ_SHADOW, value, 0);
  vcpu.processor.invalidate({ kind: 'vpid', vpid: vmcs.read32(field.VIRTUAL_PROCESSOR_ID) });
  return true;
}
