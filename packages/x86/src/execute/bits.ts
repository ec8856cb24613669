import type { Cpu } from '../cpu.ts';
import { condition, setCarry, setZero } from '../flags.ts';
import type { Executor, Instruction } from '../instruction.ts';
import { beginUpdate, endUpdate } from '../linear-memory.ts';
import { Slot } from '../slot.ts';
import { address, isMemory, load, readOperand, readRegister, writeOperand, writeRegister } from './operands.ts';

/** Numbered as ModRM.reg of the immediate form, minus 4. */
export const enum BitTest {
  BT = 0,
  BTS = 1,
  BTR = 2,
  BTC = 3,
}

/** Sets CF to the bit and gives the changed word. */
function testAndChange(r: Int32Array, operation: BitTest, word: number, bit: number): number {
  setCarry(r, ((word >>> bit) & 1) === 1);
  switch (operation) {
    case BitTest.BTS:
      return word | (1 << bit);
    case BitTest.BTR:
      return word & ~(1 << bit);
    case BitTest.BTC:
      return word ^ (1 << bit);
    default:
      return word;
  }
}

function change(cpu: Cpu, i: Instruction, low: number, high: number, bit: number): number {
  const { r } = cpu;
  if (bit < 32) {
    r[Slot.HIGH] = high;
    return testAndChange(r, i.operation, low, bit);
  }
  r[Slot.HIGH] = testAndChange(r, i.operation, high, bit - 32);
  return low;
}

function changeRegister(cpu: Cpu, i: Instruction, bit: number): void {
  const value = readRegister(cpu, i.rm, i.width);
  const result = change(cpu, i, value, cpu.r[Slot.HIGH], bit);
  if (i.operation !== BitTest.BT) writeRegister(cpu, i.rm, i.width, result, cpu.r[Slot.HIGH]);
}

function changeMemory(
  cpu: Cpu,
  i: Instruction,
  at: { readonly low: number; readonly high: number; readonly bit: number },
): void {
  const { r } = cpu;
  if (i.operation === BitTest.BT) {
    change(cpu, i, load(cpu, at.low, at.high, i.width), r[Slot.HIGH], at.bit);
    return;
  }
  const value = beginUpdate(cpu, at.low, at.high, i.width);
  const result = change(cpu, i, value, r[Slot.HIGH], at.bit);
  endUpdate(cpu, i.width, result, r[Slot.HIGH]);
}

/** Rows `bt Ev,Ib`: the offset is taken modulo the width. */
export const bitTestImmediate: Executor = (cpu, i) => {
  const bit = i.immediateLow & (8 * i.width - 1);
  if (!isMemory(i)) {
    changeRegister(cpu, i, bit);
    return;
  }
  const low = address(cpu, i);
  changeMemory(cpu, i, { low, high: cpu.r[Slot.ADDRESS_HIGH], bit });
};

/** Rows `bt Ev,Gv`: in memory the signed offset selects a word before or after the operand. */
export const bitTestRegister: Executor = (cpu, i) => {
  const { r } = cpu;
  const mask = 8 * i.width - 1;
  if (!isMemory(i)) {
    changeRegister(cpu, i, readRegister(cpu, i.reg, i.width) & mask);
    return;
  }
  const base = address(cpu, i);
  const baseHigh = r[Slot.ADDRESS_HIGH];
  let offset = readRegister(cpu, i.reg, i.width);
  let offsetHigh = i.width === 8 ? r[Slot.HIGH] : offset >> 31;
  if (i.width === 2) {
    offset = (offset << 16) >> 16;
    offsetHigh = offset >> 31;
  }
  const bytesLow = ((offset >>> 3) | (offsetHigh << 29)) & ~(i.width - 1);
  const low = (base + bytesLow) | 0;
  const carry = ((base & bytesLow) | ((base | bytesLow) & ~low)) >>> 31;
  const high = i.addressWidth === 8 ? (baseHigh + (offsetHigh >> 3) + carry) | 0 : 0;
  changeMemory(cpu, i, { low, high, bit: offset & mask });
};

/** BSF and BSR: an empty source sets ZF and leaves the destination. */
export const bitScanForward: Executor = (cpu, i) => {
  const low = readOperand(cpu, i, i.width);
  const high = i.width === 8 ? cpu.r[Slot.HIGH] : 0;
  const found = (low | high) !== 0;
  setZero(cpu.r, !found);
  if (found) writeRegister(cpu, i.reg, i.width, low !== 0 ? trailingZeros(low) : 32 + trailingZeros(high), 0);
};

export const bitScanReverse: Executor = (cpu, i) => {
  const low = readOperand(cpu, i, i.width);
  const high = i.width === 8 ? cpu.r[Slot.HIGH] : 0;
  const found = (low | high) !== 0;
  setZero(cpu.r, !found);
  if (found) writeRegister(cpu, i.reg, i.width, high !== 0 ? 63 - Math.clz32(high) : 31 - Math.clz32(low), 0);
};

function trailingZeros(word: number): number {
  return 31 - Math.clz32(word & -word);
}

/** POPCNT. */
export const populationCount: Executor = (cpu, i) => {
  const { r } = cpu;
  const low = readOperand(cpu, i, i.width);
  const count = bitsOf(low) + (i.width === 8 ? bitsOf(r[Slot.HIGH]) : 0);
  writeRegister(cpu, i.reg, i.width, count, 0);
  r[Slot.CARRIES] = 0;
  r[Slot.SIGN] = 0;
  r[Slot.ADJUST] = 0;
  r[Slot.PARITY] = 1;
  setZero(r, count === 0);
};

function bitsOf(word: number): number {
  let pairs = word - ((word >>> 1) & 0x5555_5555);
  pairs = (pairs & 0x3333_3333) + ((pairs >>> 2) & 0x3333_3333);
  return Math.imul((pairs + (pairs >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24;
}

/** BSWAP: the 16-bit form is undefined and gives zero, as processors do. */
export const byteSwap: Executor = (cpu, i) => {
  const { r } = cpu;
  if (i.width === 2) {
    cpu.r16[i.rm] = 0;
    return;
  }
  const low = swapWord(r[i.rm]);
  if (i.width === 8) {
    r[i.rm] = swapWord(r[i.rm + 1]);
    r[i.rm + 1] = low;
  } else {
    r[i.rm] = low;
    r[i.rm + 1] = 0;
  }
};

function swapWord(word: number): number {
  return (word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);
}

/** SETcc Eb. */
export const setOnCondition: Executor = (cpu, i) => {
  writeOperand(cpu, i, 1, condition(cpu.r, i.operation) ? 1 : 0, 0);
};

/** CMOVcc Gv,Ev: the source is read, and a 32-bit destination is cut, whether or not the condition holds. */
export const moveOnCondition: Executor = (cpu, i) => {
  const { r } = cpu;
  const low = readOperand(cpu, i, i.width);
  if (condition(r, i.operation)) writeRegister(cpu, i.reg, i.width, low, r[Slot.HIGH]);
  else if (i.width === 4) r[i.reg + 1] = 0;
};
