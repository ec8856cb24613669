import {
  addressHigh,
  addressLow,
  bigHigh,
  bigLow,
  field,
  pendingDebugException,
  rflags,
  type Vmcs,
} from '@nvmx/vmx-fields';
import { type Registers, RSP } from '@nvmx/x86';

/** A general register by its number in exit information, as the guest had it at the exit. */
export function readRegister(o: { registers: Registers; vmcs: Vmcs }, number: number): bigint {
  return number === RSP ? o.vmcs.readBig(field.GUEST_RSP) : o.registers.big(number);
}

/** Writes a general register by its number in exit information: the guest has it after the next VM entry. */
export function writeRegister(o: { registers: Registers; vmcs: Vmcs }, number: number, value: bigint): void {
  writeRegisterPair(o, number, bigLow(value), bigHigh(value));
}

/** {@link writeRegister} by halves, for the paths that many exits take. */
export function writeRegisterPair(
  o: { registers: Registers; vmcs: Vmcs },
  number: number,
  low: number,
  high: number,
): void {
  if (number === RSP) o.vmcs.write64(field.GUEST_RSP, low, high);
  else o.registers.set(number, low, high);
}

/**
 * Advances RIP past the instruction that caused the exit, and ends blocking by STI and MOV SS. A guest that single-steps
 * gets the trap that the instruction would have ended with.
 */
export function skipInstruction(vmcs: Vmcs): void {
  const low = vmcs.read32(field.GUEST_RIP) + vmcs.read32(field.VM_EXIT_INSTRUCTION_LEN);
  vmcs.words[field.GUEST_RIP] = addressLow(low);
  vmcs.words[field.GUEST_RIP + 1] += addressHigh(low);
  if ((vmcs.read32(field.GUEST_RFLAGS) & rflags.TF) !== 0) {
    const pending = vmcs.read32(field.GUEST_PENDING_DBG_EXCEPTIONS) | pendingDebugException.BS;
    vmcs.write32(field.GUEST_PENDING_DBG_EXCEPTIONS, pending);
  }
  const blocking = vmcs.read32(field.GUEST_INTERRUPTIBILITY_INFO);
  if ((blocking & 3) !== 0) vmcs.write32(field.GUEST_INTERRUPTIBILITY_INFO, blocking & ~3);
}
