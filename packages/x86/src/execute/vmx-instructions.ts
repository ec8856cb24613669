import { field } from '@nvmx/vmx-fields';
import type { Cpu } from '../cpu.ts';
import { raiseUndefinedOpcode } from '../faults.ts';
import { Flag } from '../flags.ts';
import type { Executor, Instruction } from '../instruction.ts';
import { displacement, operandInformation, registerNumber } from '../instruction-information.ts';
import { Rights, rightsOf, Segment } from '../segments.ts';
import { Slot } from '../slot.ts';
import { type Exit, exitInstruction, exitWithInformation, Exit as Reason } from '../vm-exit.ts';

const { GUEST_CR0, GUEST_CR4 } = field;
const CR0_PE = 1;
const CR4_VMXE = 0x2000;
const EFER_LMA = 0x400;
const REGISTER_2_SHIFT = 28;

/** Where VMX instructions do not exist at all: real mode, virtual-8086 mode, compatibility mode. */
function requireVmxMode(cpu: Cpu): void {
  const protectedMode = (cpu.v[GUEST_CR0] & CR0_PE) !== 0 && (cpu.r[Slot.SYSTEM_FLAGS] & Flag.VM) === 0;
  const compatibility = (cpu.efer & EFER_LMA) !== 0 && (rightsOf(cpu, Segment.CS) & Rights.LONG) === 0;
  if (!protectedMode || compatibility) raiseUndefinedOpcode(cpu);
}

function exitWithOperand(cpu: Cpu, i: Instruction, reason: Exit, registers: number): void {
  const low = displacement(cpu, i);
  exitWithInformation(cpu, i, { reason, information: operandInformation(i) | registers, low, high: cpu.r[Slot.HIGH] });
}

/** VMXON: also undefined without CR4.VMXE. */
export const vmxon: Executor = (cpu, i) => {
  if ((cpu.v[GUEST_CR4] & CR4_VMXE) === 0) raiseUndefinedOpcode(cpu);
  requireVmxMode(cpu);
  exitWithOperand(cpu, i, Reason.VMXON, 0);
};

/** VMCLEAR, VMPTRLD, VMPTRST: one memory operand. `operation` is the exit reason. */
export const vmxWithPointer: Executor = (cpu, i) => {
  requireVmxMode(cpu);
  exitWithOperand(cpu, i, i.operation, 0);
};

/** VMREAD, VMWRITE, INVEPT, INVVPID: the register of ModRM.reg is reported too. `operation` is the exit reason. */
export const vmxWithRegister: Executor = (cpu, i) => {
  requireVmxMode(cpu);
  exitWithOperand(cpu, i, i.operation, registerNumber(i) << REGISTER_2_SHIFT);
};

/** VMLAUNCH, VMRESUME, VMXOFF. `operation` is the exit reason. */
export const vmxPlain: Executor = (cpu, i) => {
  requireVmxMode(cpu);
  exitInstruction(cpu, i, i.operation);
};

/** VMCALL exits in every mode and at every privilege. */
export const vmcall: Executor = (cpu, i) => exitInstruction(cpu, i, Reason.VMCALL);
