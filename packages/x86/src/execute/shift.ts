import type { Cpu } from '../cpu.ts';
import { carryFlag, setCarryAndOverflow } from '../flags.ts';
import type { Executor, Instruction } from '../instruction.ts';
import { beginUpdate, endUpdate } from '../linear-memory.ts';
import { Slot } from '../slot.ts';
import { address, isMemory, readRegister, writeRegister } from './operands.ts';

/** Numbered as ModRM.reg. */
export const enum Shift {
  ROL = 0,
  ROR = 1,
  RCL = 2,
  RCR = 3,
  SHL = 4,
  SHR = 5,
  SAL = 6,
  SAR = 7,
}

const CL = 2;

/** Flags of SHL, SHR, SAR and the double shifts. Above a count of 1, OF follows the formula for a count of 1. */
function setResultFlags(
  r: Int32Array,
  width: number,
  low: number,
  high: number,
  carry: number,
  overflow: boolean,
): void {
  const top = width === 8 ? high : low << (32 - 8 * width);
  r[Slot.ZERO_TEST] = width === 8 ? low | high : top;
  r[Slot.SIGN] = top;
  r[Slot.PARITY] = low;
  r[Slot.ADJUST] = 0;
  setCarryAndOverflow(r, carry !== 0, overflow);
}

/** The two most significant bits differ. */
function topBitsDiffer(top: number): boolean {
  return (top ^ (top << 1)) < 0;
}

/** Shifts or rotates a value of 1, 2 or 4 bytes (zero-extended) by 1..31. */
function shift32(r: Int32Array, operation: Shift, value: number, count: number, width: number): number {
  const bits = 8 * width;
  const align = 32 - bits;
  switch (operation) {
    case Shift.SHL:
    case Shift.SAL: {
      const carry = count <= bits ? (value >>> (bits - count)) & 1 : 0;
      const result = value << count;
      setResultFlags(r, width, result, 0, carry, (result << align) >>> 31 !== carry);
      return result;
    }
    case Shift.SHR: {
      const zeroExtended = (value << align) >>> align;
      const result = zeroExtended >>> count;
      const carry = (zeroExtended >>> (count - 1)) & 1;
      setResultFlags(r, width, result, 0, carry, topBitsDiffer(result << align));
      return result;
    }
    case Shift.SAR: {
      const signExtended = (value << align) >> align;
      const result = signExtended >> count;
      setResultFlags(r, width, result, 0, (signExtended >> (count - 1)) & 1, false);
      return result;
    }
    case Shift.ROL:
    case Shift.ROR: {
      const zeroExtended = (value << align) >>> align;
      const left = operation === Shift.ROL ? count % bits : (bits - (count % bits)) % bits;
      const result = left === 0 ? zeroExtended : (zeroExtended << left) | (zeroExtended >>> (bits - left));
      const top = result << align;
      if (operation === Shift.ROL) setCarryAndOverflow(r, (result & 1) !== 0, top >>> 31 !== (result & 1));
      else setCarryAndOverflow(r, top < 0, topBitsDiffer(top));
      return result;
    }
    default:
      return rotateThroughCarry(r, operation, value, 0, count % (bits + 1), width);
  }
}

/** RCL and RCR, one bit at a time: rare, and any width. */
function rotateThroughCarry(
  r: Int32Array,
  operation: Shift,
  value: number,
  valueHigh: number,
  count: number,
  width: number,
): number {
  let carry = carryFlag(r);
  let low = value;
  let high = valueHigh;
  const align = width === 8 ? 0 : 32 - 8 * width;
  for (let n = 0; n < count; n++) {
    const top = width === 8 ? high : low << align;
    if (operation === Shift.RCL) {
      high = (high << 1) | (low >>> 31);
      low = (low << 1) | carry;
      carry = top >>> 31;
    } else {
      const out = low & 1;
      if (width === 8) {
        low = (low >>> 1) | (high << 31);
        high = (high >>> 1) | (carry << 31);
      } else {
        low = (((low << align) >>> align) >>> 1) | (carry << (8 * width - 1));
      }
      carry = out;
    }
  }
  const top = width === 8 ? high : low << align;
  const overflow = operation === Shift.RCL ? top >>> 31 !== carry : topBitsDiffer(top);
  if (count !== 0) setCarryAndOverflow(r, carry !== 0, overflow);
  r[Slot.HIGH] = high;
  return low;
}

function bit64(low: number, high: number, index: number): number {
  return index >= 32 ? (high >>> (index - 32)) & 1 : (low >>> index) & 1;
}

function shiftLeft64(r: Int32Array, low: number, high: number, count: number): number {
  if (count === 0) {
    r[Slot.HIGH] = high;
    return low;
  }
  if (count < 32) {
    r[Slot.HIGH] = (high << count) | (low >>> (32 - count));
    return low << count;
  }
  r[Slot.HIGH] = low << (count - 32);
  return 0;
}

/** `fill` comes in from above: 0 or -1. */
function shiftRight64(r: Int32Array, low: number, high: number, count: number, fill: number): number {
  if (count === 0) {
    r[Slot.HIGH] = high;
    return low;
  }
  if (count < 32) {
    r[Slot.HIGH] = (high >>> count) | (fill << (32 - count));
    return (low >>> count) | (high << (32 - count));
  }
  r[Slot.HIGH] = fill;
  return count === 32 ? high : (high >>> (count - 32)) | (fill << (64 - count));
}

/** Shifts or rotates a 64-bit value by 1..63. */
function shift64(r: Int32Array, operation: Shift, low: number, high: number, count: number): number {
  switch (operation) {
    case Shift.SHL:
    case Shift.SAL: {
      const carry = bit64(low, high, 64 - count);
      const result = shiftLeft64(r, low, high, count);
      setResultFlags(r, 8, result, r[Slot.HIGH], carry, r[Slot.HIGH] >>> 31 !== carry);
      return result;
    }
    case Shift.SHR:
    case Shift.SAR: {
      const carry = bit64(low, high, count - 1);
      const result = shiftRight64(r, low, high, count, operation === Shift.SAR ? high >> 31 : 0);
      const overflow = operation === Shift.SHR && topBitsDiffer(r[Slot.HIGH]);
      setResultFlags(r, 8, result, r[Slot.HIGH], carry, overflow);
      return result;
    }
    case Shift.ROL:
    case Shift.ROR: {
      const left = operation === Shift.ROL ? count : 64 - count;
      const upper = shiftLeft64(r, low, high, left);
      const upperHigh = r[Slot.HIGH];
      const result = upper | shiftRight64(r, low, high, 64 - left, 0);
      const top = upperHigh | r[Slot.HIGH];
      r[Slot.HIGH] = top;
      if (operation === Shift.ROL) setCarryAndOverflow(r, (result & 1) !== 0, top >>> 31 !== (result & 1));
      else setCarryAndOverflow(r, top < 0, topBitsDiffer(top));
      return result;
    }
    default:
      return rotateThroughCarry(r, operation, low, high, count, 8);
  }
}

function shift(cpu: Cpu, i: Instruction, count: number, low: number, high: number): number {
  return i.width === 8
    ? shift64(cpu.r, i.operation, low, high, count)
    : shift32(cpu.r, i.operation, low, count, i.width);
}

function countMask(i: Instruction): number {
  return i.width === 8 ? 63 : 31;
}

function shiftRegister(cpu: Cpu, i: Instruction, count: number): void {
  const value = readRegister(cpu, i.rm, i.width);
  const result = count === 0 ? value : shift(cpu, i, count, value, cpu.r[Slot.HIGH]);
  writeRegister(cpu, i.rm, i.width, result, cpu.r[Slot.HIGH]);
}

function shiftMemory(cpu: Cpu, i: Instruction, count: number): void {
  const low = address(cpu, i);
  const value = beginUpdate(cpu, low, cpu.r[Slot.ADDRESS_HIGH], i.width);
  const result = count === 0 ? value : shift(cpu, i, count, value, cpu.r[Slot.HIGH]);
  endUpdate(cpu, i.width, result, cpu.r[Slot.HIGH]);
}

/** SHL, SHR and SAR of a 32-bit or 64-bit register by an immediate that is not 0 modulo the width. */
export const shiftRegisterByImmediate: Executor = (cpu, i) => {
  const { r } = cpu;
  if (i.width === 4) {
    r[i.rm] = shift32(r, i.operation, r[i.rm], i.immediateLow, 4);
    r[i.rm + 1] = 0;
  } else {
    r[i.rm] = shift64(r, i.operation, r[i.rm], r[i.rm + 1], i.immediateLow);
    r[i.rm + 1] = r[Slot.HIGH];
  }
};

const memoryByImmediate: Executor = (cpu, i) => shiftMemory(cpu, i, i.immediateLow);
const registerByImmediate: Executor = (cpu, i) => shiftRegister(cpu, i, i.immediateLow);
const memoryByCl: Executor = (cpu, i) => shiftMemory(cpu, i, cpu.r[CL] & countMask(i));
const registerByCl: Executor = (cpu, i) => shiftRegister(cpu, i, cpu.r[CL] & countMask(i));

/** Rows with an immediate count; a count of 1 without immediate is decoded as one. */
export function shiftByImmediate(i: Instruction): Executor {
  i.immediateLow &= countMask(i);
  if (isMemory(i)) return memoryByImmediate;
  return i.width >= 4 && i.immediateLow !== 0 ? shiftRegisterByImmediate : registerByImmediate;
}

/** Rows with the count in CL. */
export function shiftByCl(i: Instruction): Executor {
  return isMemory(i) ? memoryByCl : registerByCl;
}

/** SHLD and SHRD: `operation` is `Shift.SHL` or `Shift.SHR`. */
function doubleShift(cpu: Cpu, i: Instruction, count: number): void {
  const { r } = cpu;
  const memory = isMemory(i);
  let at = 0;
  if (memory) at = address(cpu, i);
  const low = memory ? beginUpdate(cpu, at, r[Slot.ADDRESS_HIGH], i.width) : readRegister(cpu, i.rm, i.width);
  const high = r[Slot.HIGH];
  const source = readRegister(cpu, i.reg, i.width);
  const result = count === 0 ? low : doubleShiftValue(r, i, count, low, high, source);
  if (count === 0) r[Slot.HIGH] = high;
  if (memory) endUpdate(cpu, i.width, result, r[Slot.HIGH]);
  else writeRegister(cpu, i.rm, i.width, result, r[Slot.HIGH]);
}

/** The high word of `source` is in `Slot.HIGH`. */
function doubleShiftValue(
  r: Int32Array,
  i: Instruction,
  count: number,
  low: number,
  high: number,
  source: number,
): number {
  const left = i.operation === Shift.SHL;
  if (i.width === 8) {
    const sourceHigh = r[Slot.HIGH];
    const carry = bit64(low, high, left ? 64 - count : count - 1);
    const kept = left ? shiftLeft64(r, low, high, count) : shiftRight64(r, low, high, count, 0);
    const keptHigh = r[Slot.HIGH];
    const taken = left
      ? shiftRight64(r, source, sourceHigh, 64 - count, 0)
      : shiftLeft64(r, source, sourceHigh, 64 - count);
    const result = kept | taken;
    const resultHigh = keptHigh | r[Slot.HIGH];
    const overflow = left ? resultHigh >>> 31 !== carry : topBitsDiffer(resultHigh);
    setResultFlags(r, 8, result, resultHigh, carry, overflow);
    r[Slot.HIGH] = resultHigh;
    return result;
  }
  return i.width === 4 ? doubleShift32(r, left, count, low, source) : doubleShift16(r, left, count, low, source);
}

function doubleShift32(r: Int32Array, left: boolean, count: number, value: number, source: number): number {
  const carry = (left ? value >>> (32 - count) : value >>> (count - 1)) & 1;
  const result = left ? (value << count) | (source >>> (32 - count)) : (value >>> count) | (source << (32 - count));
  const overflow = left ? result >>> 31 !== carry : topBitsDiffer(result);
  setResultFlags(r, 4, result, 0, carry, overflow);
  return result;
}

/** A count above 16 shifts in the destination again, as processors do where the manual says undefined. */
function doubleShift16(r: Int32Array, left: boolean, count: number, value: number, source: number): number {
  const destination = value & 0xffff;
  const other = source & 0xffff;
  let result: number;
  let carry: number;
  if (left) {
    const wide = (destination << 16) | other;
    result = (count <= 16 ? wide << count : ((other << 16) | destination) << (count - 16)) >>> 16;
    carry = count <= 16 ? (destination >>> (16 - count)) & 1 : (other >>> (32 - count)) & 1;
  } else {
    const wide = (other << 16) | destination;
    result = count <= 16 ? (wide >>> count) & 0xffff : (((destination << 16) | other) >>> (count - 16)) & 0xffff;
    carry = count <= 16 ? (destination >>> (count - 1)) & 1 : (other >>> (count - 17)) & 1;
  }
  const top = result << 16;
  setResultFlags(r, 2, result, 0, carry, left ? top >>> 31 !== carry : topBitsDiffer(top));
  return result;
}

export function doubleShiftByImmediate(i: Instruction): Executor {
  const count = i.immediateLow & countMask(i);
  return (cpu, it) => doubleShift(cpu, it, count);
}

export const doubleShiftByCl: Executor = (cpu, i) => doubleShift(cpu, i, cpu.r[CL] & countMask(i));
