import type { Cpu } from '../cpu.ts';
import { isCanonical, raiseGeneralProtection } from '../faults.ts';
import { condition } from '../flags.ts';
import type { Executor, Instruction } from '../instruction.ts';
import { Slot } from '../slot.ts';
import { readOperand } from './operands.ts';
import { moveStackPointer, peek, push } from './stack.ts';

/** RIP of the instruction after this one: returns the low word, leaves the high one in `Slot.HIGH`. */
export function nextRip(cpu: Cpu, i: Instruction): number {
  const { r } = cpu;
  const page = r[Slot.PAGE];
  const low = (page + i.next) | 0;
  r[Slot.HIGH] = r[Slot.PAGE + 1] + (low >>> 0 < i.next ? 1 : 0);
  return low;
}

/** Leaves RIP at the instruction after this one: what a branch that is not taken does. */
export function fallThrough(cpu: Cpu, i: Instruction): void {
  const { r } = cpu;
  r[Slot.RIP] = nextRip(cpu, i);
  r[Slot.RIP + 1] = cpu.mode === 64 ? r[Slot.HIGH] : 0;
}

/** Leaves RIP at the start of this instruction, to carry it out again. */
export function stayHere(cpu: Cpu, i: Instruction): void {
  const { r } = cpu;
  r[Slot.RIP] = r[Slot.PAGE] + i.start;
  r[Slot.RIP + 1] = r[Slot.PAGE + 1];
}

/** The target of a relative branch: bytes from the start of the page are in the immediate. */
function branch(cpu: Cpu, i: Instruction): void {
  const { r } = cpu;
  const page = r[Slot.PAGE];
  const distance = i.immediateLow;
  const low = (page + distance) | 0;
  const carry = ((page & distance) | ((page | distance) & ~low)) >>> 31;
  const high = (r[Slot.PAGE + 1] + i.immediateHigh + carry) | 0;
  if (cpu.mode !== 64) {
    r[Slot.RIP] = i.width === 2 ? low & 0xffff : low;
    r[Slot.RIP + 1] = 0;
    return;
  }
  if ((high << 16) >> 16 !== high) raiseGeneralProtection(cpu);
  r[Slot.RIP] = low;
  r[Slot.RIP + 1] = high;
}

/** Sets RIP to a target that came from a register or from memory. */
export function branchTo(cpu: Cpu, low: number, high: number, width: number): void {
  const { r } = cpu;
  if (width === 8) {
    if (!isCanonical(high)) raiseGeneralProtection(cpu);
    r[Slot.RIP] = low;
    r[Slot.RIP + 1] = high;
    return;
  }
  r[Slot.RIP] = width === 2 ? low & 0xffff : low;
  r[Slot.RIP + 1] = 0;
}

export const jump: Executor = (cpu, i) => branch(cpu, i);

/** Jcc; `operation` is the condition code. */
export const jumpOnCondition: Executor = (cpu, i) => {
  if (condition(cpu.r, i.operation)) branch(cpu, i);
  else fallThrough(cpu, i);
};

export const jumpIfZero: Executor = (cpu, i) => {
  if (cpu.r[Slot.ZERO_TEST] === 0) branch(cpu, i);
  else fallThrough(cpu, i);
};

export const jumpIfNotZero: Executor = (cpu, i) => {
  if (cpu.r[Slot.ZERO_TEST] !== 0) branch(cpu, i);
  else fallThrough(cpu, i);
};

/** JMP Ev. */
export const jumpIndirect: Executor = (cpu, i) => {
  const low = readOperand(cpu, i, i.width);
  branchTo(cpu, low, cpu.r[Slot.HIGH], i.width);
};

/** The push may fault and comes last: a fault puts RIP back, and nothing else has changed. */
export const call: Executor = (cpu, i) => {
  const low = nextRip(cpu, i);
  const high = cpu.r[Slot.HIGH];
  branch(cpu, i);
  push(cpu, i.width, low, high);
};

/** CALL Ev. */
export const callIndirect: Executor = (cpu, i) => {
  const { r } = cpu;
  const target = readOperand(cpu, i, i.width);
  branchTo(cpu, target, r[Slot.HIGH], i.width);
  const low = nextRip(cpu, i);
  push(cpu, i.width, low, r[Slot.HIGH]);
};

/** RET and RET Iw: the immediate is released as well. */
export const returnNear: Executor = (cpu, i) => {
  const { r } = cpu;
  const low = peek(cpu, i.width, 0);
  branchTo(cpu, low, r[Slot.HIGH], i.width);
  moveStackPointer(cpu, i.width + (i.immediateLow & 0xffff));
};

/** LOOPNE, LOOPE, LOOP, JrCXZ, in the order of their opcodes; the counter has the width of addresses. */
export const enum Loop {
  NOT_EQUAL = 0,
  EQUAL = 1,
  ALWAYS = 2,
  IF_ZERO = 3,
}

export const loop: Executor = (cpu, i) => {
  if (i.operation !== Loop.IF_ZERO) decrementCounter(cpu, i.addressWidth);
  const isZero = isCounterZero(cpu, i.addressWidth);
  if (isLoopTaken(cpu, i.operation, isZero)) branch(cpu, i);
  else fallThrough(cpu, i);
};

function isLoopTaken(cpu: Cpu, operation: number, isZero: boolean): boolean {
  const equal = cpu.r[Slot.ZERO_TEST] === 0;
  switch (operation) {
    case Loop.NOT_EQUAL:
      return !isZero && !equal;
    case Loop.EQUAL:
      return !isZero && equal;
    case Loop.ALWAYS:
      return !isZero;
    default:
      return isZero;
  }
}

export function isCounterZero(cpu: Cpu, width: number): boolean {
  const { r } = cpu;
  if (width === 8) return (r[Slot.RCX] | r[Slot.RCX + 1]) === 0;
  return width === 4 ? r[Slot.RCX] === 0 : (r[Slot.RCX] & 0xffff) === 0;
}

export function decrementCounter(cpu: Cpu, width: number): void {
  const { r } = cpu;
  if (width === 2) {
    cpu.r16[Slot.RCX * 2]--;
    return;
  }
  const low = r[Slot.RCX];
  r[Slot.RCX] = low - 1;
  r[Slot.RCX + 1] = width === 8 ? r[Slot.RCX + 1] - (low === 0 ? 1 : 0) : 0;
}
