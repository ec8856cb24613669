import { gpa } from '@nvmx/guest-memory';
import { drive } from '@nvmx/sync';
import {
  eptViolation,
  exceptionVector,
  exitReason,
  field,
  interruptionType,
  ioAccess,
  procBased,
  secondary,
} from '@nvmx/vmx-fields';
import { RAX, RBX, RCX, RDX } from '@nvmx/x86';
import { clearControl, hasSecondary } from '../controls.ts';
import { handleVmread, handleVmwrite } from '../instructions/field.ts';
import { handleInvept, handleInvvpid } from '../instructions/invalidate.ts';
import { handleVmxoff, handleVmxon } from '../instructions/operation.ts';
import { handleVmclear, handleVmptrld, handleVmptrst } from '../instructions/pointer.ts';
import { handleVmcall } from '../instructions/vmcall.ts';
import { PHYSICAL_ADDRESS_END } from '../mmu/physical-address.ts';
import { handleVmEntry } from '../nested/nested-entry.ts';
import { nestedVmexit } from '../nested/nested-exit.ts';
import { exceptionEvent, typeOf } from '../vcpu/event-info.ts';
import { skipInstruction } from '../vcpu/guest-registers.ts';
import type { Vcpu } from '../vcpu/vcpu.ts';
import { handleCrAccess } from './control-registers.ts';
import { cpuid } from './cpuid.ts';

type ExitHandler = (vcpu: Vcpu) => void;

/** What L0 does with an exit that is its own, by basic exit reason, whichever guest caused it. */
const handlers: ReadonlyMap<number, ExitHandler> = new Map<number, ExitHandler>([
  [exitReason.EXCEPTION_NMI, handleExceptionNmi],
  [exitReason.EXTERNAL_INTERRUPT, () => {}],
  [exitReason.TRIPLE_FAULT, dieOfTripleFault],
  [exitReason.INTERRUPT_WINDOW, handleInterruptWindow],
  [exitReason.CPUID, handleCpuid],
  [exitReason.HLT, handleHlt],
  [exitReason.INVD, (vcpu) => skipInstruction(vcpu.vmcs)],
  [exitReason.WBINVD, (vcpu) => skipInstruction(vcpu.vmcs)],
  [exitReason.VMCALL, handleVmcall],
  [exitReason.VMCLEAR, handleVmclear],
  [exitReason.VMLAUNCH, (vcpu) => handleVmEntry(vcpu, { launch: true })],
  [exitReason.VMPTRLD, handleVmptrld],
  [exitReason.VMPTRST, handleVmptrst],
  [exitReason.VMREAD, handleVmread],
  [exitReason.VMRESUME, (vcpu) => handleVmEntry(vcpu, { launch: false })],
  [exitReason.VMWRITE, handleVmwrite],
  [exitReason.VMOFF, handleVmxoff],
  [exitReason.VMON, handleVmxon],
  [exitReason.INVEPT, handleInvept],
  [exitReason.INVVPID, handleInvvpid],
  [exitReason.CR_ACCESS, handleCrAccess],
  [exitReason.IO_INSTRUCTION, handleIo],
  [exitReason.MSR_READ, handleRdmsr],
  [exitReason.MSR_WRITE, handleWrmsr],
  [exitReason.EPT_VIOLATION, handleEptViolation],
  [exitReason.EPT_MISCONFIG, (vcpu) => vcpu.die('L0 wrote an EPT entry that the processor calls misconfigured')],
  [exitReason.INVALID_STATE, (vcpu) => vcpu.die('VM entry failed: invalid guest state')],
  [exitReason.XSETBV, raiseInvalidOpcode],
  [exitReason.VMFUNC, raiseInvalidOpcode],
]);

export function handleExit(vcpu: Vcpu, reason: number): void {
  const handler = handlers.get(reason & 0xffff);
  if (handler === undefined) vcpu.die(`L0 has no handler for exit reason ${reason & 0xffff}`);
  else handler(vcpu);
}

function dieOfTripleFault(vcpu: Vcpu): void {
  vcpu.die(vcpu.standsAtInstruction() ? 'triple fault' : 'triple fault by an unknown instruction');
}

function raiseInvalidOpcode(vcpu: Vcpu): void {
  vcpu.queueEvent(exceptionEvent(exceptionVector.UD));
}

/** L0 intercepts no exception of its own: only an NMI of the host ends here. */
function handleExceptionNmi(vcpu: Vcpu): void {
  const info = vcpu.vmcs.read32(field.VM_EXIT_INTR_INFO);
  if (typeOf(info) !== interruptionType.NMI) vcpu.die(`exception 0x${info.toString(16)} exited that nobody intercepts`);
}

function handleInterruptWindow(vcpu: Vcpu): void {
  clearControl(vcpu.vmcs, field.CPU_BASED_VM_EXEC_CONTROL, procBased.CPU_BASED_INTR_WINDOW_EXITING);
}

function handleCpuid(vcpu: Vcpu): void {
  const { registers } = vcpu.processor;
  const result = cpuid({ leaf: registers.low(RAX) >>> 0, apicId: vcpu.apic.id, vmcs: vcpu.vmcs });
  registers.set(RAX, result.eax, 0);
  registers.set(RBX, result.ebx, 0);
  registers.set(RCX, result.ecx, 0);
  registers.set(RDX, result.edx, 0);
  skipInstruction(vcpu.vmcs);
}

/** Without an interrupt that ends it, HLT halts the vCPU; the caller decides what happens next. */
function handleHlt(vcpu: Vcpu): void {
  skipInstruction(vcpu.vmcs);
  vcpu.halted = true;
}

function handleRdmsr(vcpu: Vcpu): void {
  const { registers } = vcpu.processor;
  const value = vcpu.msrs.read(registers.low(RCX) >>> 0);
  if (value === undefined) {
    vcpu.queueEvent(exceptionEvent(exceptionVector.GP, 0));
    return;
  }
  registers.set(RAX, Number(BigInt.asIntN(32, value)), 0);
  registers.set(RDX, Number(BigInt.asIntN(32, value >> 32n)), 0);
  skipInstruction(vcpu.vmcs);
}

function handleWrmsr(vcpu: Vcpu): void {
  const { registers } = vcpu.processor;
  const value = (BigInt(registers.low(RDX) >>> 0) << 32n) | BigInt(registers.low(RAX) >>> 0);
  if (vcpu.msrs.write(registers.low(RCX) >>> 0, value)) skipInstruction(vcpu.vmcs);
  else vcpu.queueEvent(exceptionEvent(exceptionVector.GP, 0));
}

function handleIo(vcpu: Vcpu): void {
  const qualification = vcpu.vmcs.read32(field.EXIT_QUALIFICATION);
  if ((qualification & ioAccess.STRING) !== 0) {
    vcpu.die('string I/O is not part of this L0');
    return;
  }
  const port = qualification >>> 16;
  const bytes = ((qualification & ioAccess.SIZE) + 1) as 1 | 2 | 4;
  const { registers } = vcpu.processor;
  const mask = bytes === 4 ? -1 : 2 ** (8 * bytes) - 1;
  if ((qualification & ioAccess.IN) === 0) vcpu.io.write(port, bytes, (registers.low(RAX) & mask) >>> 0);
  else
    registers.set(
      RAX,
      ...mergedInput(registers.low(RAX), registers.high(RAX), { bytes, mask, value: vcpu.io.read(port, bytes) }),
    );
  skipInstruction(vcpu.vmcs);
}

/** IN of a doubleword zeroes bits 63:32 of RAX, a narrower one leaves what it does not load. */
function mergedInput(
  low: number,
  high: number,
  o: { readonly bytes: number; readonly mask: number; readonly value: number },
): [number, number] {
  return o.bytes === 4 ? [o.value | 0, 0] : [(low & ~o.mask) | (o.value & o.mask), high];
}

function handleEptViolation(vcpu: Vcpu): void {
  const { vmcs } = vcpu;
  const address = vmcs.readAddress(field.GUEST_PHYSICAL_ADDRESS);
  const qualification = vmcs.read32(field.EXIT_QUALIFICATION);
  vcpu.trace.pageFault(address, qualification);
  const l1Ept = vcpu.nested.guestMode && hasSecondary(vcpu.nested.vmcs12, secondary.SECONDARY_EXEC_ENABLE_EPT);
  if (l1Ept) handleNestedEptViolation(vcpu, { address, qualification });
  else handleL1EptViolation(vcpu, { address, qualification });
}

function handleL1EptViolation(vcpu: Vcpu, o: { readonly address: number; readonly qualification: number }): void {
  const access = o.qualification & (eptViolation.READ | eptViolation.WRITE | eptViolation.FETCH);
  const outcome = drive(vcpu.mmu.faultL1(gpa(o.address), access));
  if (outcome !== 'mapped' && outcome !== 'retry') dieOfUnbackedAccess(vcpu, o.address);
}

function handleNestedEptViolation(vcpu: Vcpu, o: { readonly address: number; readonly qualification: number }): void {
  const { nested, vmcs02 } = vcpu;
  const eptp = nested.vmcs12.readAddress(field.EPT_POINTER);
  const fault = drive(vcpu.ept12.fault({ eptp, ...o }));
  if (fault.kind === 'mapped' || fault.kind === 'retry') return;
  if (fault.kind !== 'reflect') {
    dieOfUnbackedAccess(vcpu, fault.l1Address);
    return;
  }
  nestedVmexit(vcpu, {
    reason: fault.reason,
    qualification: { low: fault.qualification, high: vmcs02.words[field.EXIT_QUALIFICATION + 1] },
  });
}

/** Memory-mapped devices come with the board of a later release: an access without a memslot has nobody to answer it. */
function dieOfUnbackedAccess(vcpu: Vcpu, address: number): void {
  const where = address < PHYSICAL_ADDRESS_END ? `gpa 0x${address.toString(16)}` : 'an address beyond physical memory';
  vcpu.die(`access to ${where}, which no memslot backs`);
}
