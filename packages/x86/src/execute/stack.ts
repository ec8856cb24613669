import type { Cpu } from '../cpu.ts';
import { raiseGeneralProtection } from '../faults.ts';
import { Flag, readFlags, writeFlags } from '../flags.ts';
import type { Executor, Instruction } from '../instruction.ts';
import { probeWrite } from '../linear-memory.ts';
import { updateAttention } from '../mode.ts';
import { baseWord, Rights, rightsOf, Segment, selectorOf } from '../segments.ts';
import { Slot } from '../slot.ts';
import { selectTranslations } from '../translation.ts';
import { address, isMemory, load, readOperand, readRegister, store, writeRegister } from './operands.ts';
import { loadSegmentRegister } from './segment-moves.ts';

/**
 * Linear address of the stack pointer plus `offset`: returns the low word, leaves the high one in `Slot.ADDRESS_HIGH`.
 * Outside of 64-bit mode the pointer has the width that the stack segment says, and the segment has a base.
 */
function stackAddress(cpu: Cpu, offset: number): number {
  const { r } = cpu;
  const low = (r[Slot.RSP] + offset) | 0;
  if (cpu.mode === 64) {
    const borrow = offset < 0 ? (r[Slot.RSP] >>> 0 < -offset ? 1 : 0) : 0;
    const carry = offset > 0 ? (low >>> 0 < offset ? 1 : 0) : 0;
    r[Slot.ADDRESS_HIGH] = r[Slot.RSP + 1] - borrow + carry;
    return low;
  }
  r[Slot.ADDRESS_HIGH] = 0;
  return (cpu.v[baseWord(Segment.SS)] + (isBigStack(cpu) ? low : low & 0xffff)) | 0;
}

function isBigStack(cpu: Cpu): boolean {
  return (rightsOf(cpu, Segment.SS) & Rights.BIG) !== 0;
}

/** Adds to the stack pointer in the width that the mode gives it. */
export function moveStackPointer(cpu: Cpu, offset: number): void {
  const { r } = cpu;
  if (cpu.mode === 64) {
    const low = (r[Slot.RSP] + offset) | 0;
    const carry = offset < 0 ? (r[Slot.RSP] >>> 0 < -offset ? -1 : 0) : low >>> 0 < offset ? 1 : 0;
    r[Slot.RSP] = low;
    r[Slot.RSP + 1] = r[Slot.RSP + 1] + carry;
  } else if (isBigStack(cpu)) {
    r[Slot.RSP] = r[Slot.RSP] + offset;
    r[Slot.RSP + 1] = 0;
  } else {
    cpu.r16[Slot.RSP * 2] += offset;
  }
}

/** Pushes 2, 4 or 8 bytes. Nothing changes when the store faults. */
export function push(cpu: Cpu, width: number, low: number, high: number): void {
  const at = stackAddress(cpu, -width);
  store(cpu, at, cpu.r[Slot.ADDRESS_HIGH], width, low, high);
  moveStackPointer(cpu, -width);
}

/** Reads the stack at a distance above its top without moving it; the high word goes to `Slot.HIGH`. */
export function peek(cpu: Cpu, width: number, distance: number): number {
  const at = stackAddress(cpu, distance);
  return load(cpu, at, cpu.r[Slot.ADDRESS_HIGH], width);
}

export function pop(cpu: Cpu, width: number): number {
  const value = peek(cpu, width, 0);
  moveStackPointer(cpu, width);
  return value;
}

export const pushRegister: Executor = (cpu, i) => {
  const value = readRegister(cpu, i.rm, i.width);
  push(cpu, i.width, value, cpu.r[Slot.HIGH]);
};

export const popRegister: Executor = (cpu, i) => {
  const value = pop(cpu, i.width);
  writeRegister(cpu, i.rm, i.width, value, cpu.r[Slot.HIGH]);
};

export const pushImmediate: Executor = (cpu, i) => push(cpu, i.width, i.immediateLow, i.immediateHigh);

/** PUSH Ev. */
export function pushOperand(i: Instruction): Executor {
  if (!isMemory(i)) return pushRegister;
  return (cpu, it) => {
    const value = readOperand(cpu, it, it.width);
    push(cpu, it.width, value, cpu.r[Slot.HIGH]);
  };
}

/** POP Ev: an address that uses RSP uses its value after the pop; a faulting store leaves RSP as it was. */
export function popOperand(i: Instruction): Executor {
  return isMemory(i) ? popMemory : popRegister;
}

const popMemory: Executor = (cpu, i) => {
  const { r } = cpu;
  const low = r[Slot.RSP];
  const high = r[Slot.RSP + 1];
  const value = pop(cpu, i.width);
  const valueHigh = r[Slot.HIGH];
  const newLow = r[Slot.RSP];
  const newHigh = r[Slot.RSP + 1];
  const at = address(cpu, i);
  r[Slot.RSP] = low;
  r[Slot.RSP + 1] = high;
  store(cpu, at, r[Slot.ADDRESS_HIGH], i.width, value, valueHigh);
  r[Slot.RSP] = newLow;
  r[Slot.RSP + 1] = newHigh;
};

/** PUSHF: VM and RF are pushed as 0. */
export const pushFlags: Executor = (cpu, i) => push(cpu, i.width, readFlags(cpu.r) & ~(Flag.VM | Flag.RF), 0);

/** POPF: what may change depends on CPL and IOPL. */
export const popFlags: Executor = (cpu, i) => {
  const { r } = cpu;
  const old = readFlags(r);
  let kept: number = Flag.VM | Flag.VIF | Flag.VIP | Flag.RF;
  if (cpu.cpl !== 0) kept |= Flag.IOPL;
  if (cpu.cpl > ((old >>> 12) & 3)) kept |= Flag.IF;
  let value = pop(cpu, i.width);
  if (i.width === 2) value = (value & 0xffff) | (old & 0xffff_0000);
  writeFlags(r, ((value & ~kept) | (old & kept)) & ~Flag.RF);
  updateAttention(cpu);
  selectTranslations(cpu);
};

/** PUSH of a segment selector. */
export const pushSegment: Executor = (cpu, i) => push(cpu, i.width, selectorOf(cpu, i.operation), 0);

/** POP to a segment register. */
export const popSegment: Executor = (cpu, i) => {
  const selector = peek(cpu, i.width === 2 ? 2 : i.width, 0) & 0xffff;
  loadSegmentRegister(cpu, i.operation, selector);
  moveStackPointer(cpu, i.width);
};

/** LEAVE. */
export const leave: Executor = (cpu, i) => {
  const { r } = cpu;
  const low = r[Slot.RSP];
  const high = r[Slot.RSP + 1];
  if (cpu.mode === 64) {
    r[Slot.RSP] = r[Slot.RBP];
    r[Slot.RSP + 1] = r[Slot.RBP + 1];
  } else if (isBigStack(cpu)) r[Slot.RSP] = r[Slot.RBP];
  else cpu.r16[Slot.RSP * 2] = cpu.r16[Slot.RBP * 2];
  const at = stackAddress(cpu, 0);
  const atHigh = r[Slot.ADDRESS_HIGH];
  const newLow = r[Slot.RSP];
  const newHigh = r[Slot.RSP + 1];
  r[Slot.RSP] = low;
  r[Slot.RSP + 1] = high;
  const value = load(cpu, at, atHigh, i.width);
  const valueHigh = r[Slot.HIGH];
  r[Slot.RSP] = newLow;
  r[Slot.RSP + 1] = newHigh;
  moveStackPointer(cpu, i.width);
  writeRegister(cpu, i.width === 2 ? Slot.RBP * 2 : Slot.RBP, i.width, value, valueHigh);
};

const NESTING_MASK = 31;

/** ENTER: `immediateLow` bytes, nesting level in `immediate2`. Nothing changes when a store faults. */
export const enter: Executor = (cpu, i) => {
  const { r } = cpu;
  const bytes = i.immediateLow & 0xffff;
  const level = i.immediate2 & NESTING_MASK;
  const savedLow = r[Slot.RSP];
  const savedHigh = r[Slot.RSP + 1];
  const frame = i.width === 2 ? Slot.RBP * 2 : Slot.RBP;
  const rbpLow = r[Slot.RBP];
  const rbpHigh = r[Slot.RBP + 1];
  if (cpu.mode !== 64 && level > 1) raiseGeneralProtection(cpu);
  const below = -(i.width * (level + 1)) - bytes;
  const probeAt = stackAddress(cpu, below);
  probeWrite(cpu, probeAt, r[Slot.ADDRESS_HIGH], i.width);
  pushNested(cpu, i, level, { rbpLow, rbpHigh, savedLow, savedHigh });
  moveStackPointer(cpu, -bytes);
  const newFrame = (savedLow - i.width) | 0;
  const newFrameHigh = (savedHigh - (savedLow >>> 0 < i.width ? 1 : 0)) | 0;
  writeRegister(cpu, frame, i.width, newFrame, newFrameHigh);
};

function pushNested(
  cpu: Cpu,
  i: Instruction,
  level: number,
  o: { readonly rbpLow: number; readonly rbpHigh: number; readonly savedLow: number; readonly savedHigh: number },
): void {
  const { r } = cpu;
  try {
    push(cpu, i.width, o.rbpLow, o.rbpHigh);
    for (let n = 1; n < level; n++) {
      const at = (o.rbpLow - n * i.width) | 0;
      const high = (o.rbpHigh - (o.rbpLow >>> 0 < n * i.width ? 1 : 0)) | 0;
      const value = load(cpu, at, high, i.width);
      push(cpu, i.width, value, r[Slot.HIGH]);
    }
    if (level > 0) {
      const frame = (o.savedLow - i.width) | 0;
      push(cpu, i.width, frame, (o.savedHigh - (o.savedLow >>> 0 < i.width ? 1 : 0)) | 0);
    }
  } catch (thrown) {
    r[Slot.RSP] = o.savedLow;
    r[Slot.RSP + 1] = o.savedHigh;
    throw thrown;
  }
}
