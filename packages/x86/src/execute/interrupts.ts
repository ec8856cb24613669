import { Attention, type Cpu } from '../cpu.ts';
import { deliver, EVENT_VALID, EventType, softwareException } from '../exceptions.ts';
import { raiseGeneralProtection, raiseUndefinedOpcode, Vector } from '../faults.ts';
import { condition } from '../flags.ts';
import type { Executor } from '../instruction.ts';
import { Exit, exitInstruction } from '../vm-exit.ts';
import { fallThrough, stayHere } from './control-flow.ts';

const HLT_EXITING = 0x80;
const ACTIVITY_HLT = 1;
const OVERFLOW = 0;

/** INT n. */
export const softwareInterrupt: Executor = (cpu, i) => {
  stayHere(cpu, i);
  const info = EVENT_VALID | EventType.SOFTWARE_INTERRUPT | (i.immediateLow & 0xff);
  deliver(cpu, { info, errorCode: 0, length: i.length });
};

/** INT3. */
export const breakpoint: Executor = (cpu, i) => {
  stayHere(cpu, i);
  softwareException(cpu, Vector.BP, EventType.SOFTWARE_EXCEPTION, i.length);
};

/** INT1. */
export const debugTrap: Executor = (cpu, i) => {
  stayHere(cpu, i);
  softwareException(cpu, Vector.DB, EventType.PRIVILEGED_SOFTWARE_EXCEPTION, i.length);
};

/** INTO. */
export const interruptOnOverflow: Executor = (cpu, i) => {
  if (!condition(cpu.r, OVERFLOW)) {
    fallThrough(cpu, i);
    return;
  }
  stayHere(cpu, i);
  softwareException(cpu, Vector.OF, EventType.SOFTWARE_EXCEPTION, i.length);
};

/** Undefined opcodes, UD2 included. */
export const undefinedOpcode: Executor = (cpu) => raiseUndefinedOpcode(cpu);

/** An instruction longer than 15 bytes. */
export const overlongInstruction: Executor = (cpu) => raiseGeneralProtection(cpu);

/** HLT. */
export const halt: Executor = (cpu, i) => {
  requireCpl0(cpu);
  if ((cpu.procControls & HLT_EXITING) !== 0) {
    exitInstruction(cpu, i, Exit.HLT);
    return;
  }
  cpu.activity = ACTIVITY_HLT;
  cpu.attention |= Attention.EVENT;
};

export function requireCpl0(cpu: Cpu): void {
  if (cpu.cpl !== 0) raiseGeneralProtection(cpu);
}
