import type { Cpu } from '../cpu.ts';
import { NO_ERROR_CODE, raise, Vector } from '../faults.ts';
import { setCarryAndOverflow } from '../flags.ts';
import type { Executor, Instruction } from '../instruction.ts';
import { Slot } from '../slot.ts';
import { readOperand, readRegister, writeRegister } from './operands.ts';

const AH = 1;
const AX = 0;
const DX = 8;
const TWO_32 = 2 ** 32;
/** High words below this make an exact double. */
const EXACT_HIGH = 0x20_0000;

/** 32 x 32 bits, unsigned: returns the low word, leaves the high one in `Slot.HIGH`. */
function multiply32(r: Int32Array, a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const middle = Math.imul(aHigh, bLow);
  const low = Math.imul(aLow, bLow) >>> 16;
  const carry = ((middle & 0xffff) + low + (Math.imul(aLow, bHigh) & 0xffff)) >>> 16;
  r[Slot.HIGH] = Math.imul(aHigh, bHigh) + (middle >>> 16) + (Math.imul(aLow, bHigh) >>> 16) + carry;
  return Math.imul(a, b);
}

/** Words of the last 64 x 64-bit product, low word first. */
const product = new Int32Array(4);

function multiply64(r: Int32Array, a: number, aHigh: number, b: number, bHigh: number): void {
  product[0] = multiply32(r, a, b);
  let carry = r[Slot.HIGH] >>> 0;
  let word1 = (multiply32(r, a, bHigh) >>> 0) + carry;
  let word2 = r[Slot.HIGH] >>> 0;
  word1 += multiply32(r, aHigh, b) >>> 0;
  word2 += r[Slot.HIGH] >>> 0;
  product[1] = word1;
  carry = Math.floor(word1 / TWO_32);
  word2 += (multiply32(r, aHigh, bHigh) >>> 0) + carry;
  product[2] = word2;
  product[3] = (r[Slot.HIGH] >>> 0) + Math.floor(word2 / TWO_32);
}

/** Turns the unsigned product in `product` into the signed one. */
function correctSign(a: number, aHigh: number, b: number, bHigh: number): void {
  if (aHigh < 0) subtractFromUpper(b, bHigh);
  if (bHigh < 0) subtractFromUpper(a, aHigh);
}

function subtractFromUpper(low: number, high: number): void {
  const difference = (product[2] >>> 0) - (low >>> 0);
  product[2] = difference;
  product[3] = product[3] - high - (difference < 0 ? 1 : 0);
}

/** SF, ZF, AF and PF are undefined after a multiplication; here they follow the low half of the result. */
function setProductFlags(r: Int32Array, overflow: boolean): void {
  setCarryAndOverflow(r, overflow, overflow);
}

/** MUL Ev. */
export const multiply: Executor = (cpu, i) => {
  const { r } = cpu;
  const value = readOperand(cpu, i, i.width);
  switch (i.width) {
    case 1: {
      const result = value * cpu.r8[AX];
      cpu.r16[AX] = result;
      setProductFlags(r, result > 0xff);
      return;
    }
    case 2: {
      const result = value * cpu.r16[AX];
      cpu.r16[AX] = result;
      cpu.r16[DX] = result >>> 16;
      setProductFlags(r, result > 0xffff);
      return;
    }
    case 4: {
      const low = multiply32(r, value, r[Slot.RAX]);
      const high = r[Slot.HIGH];
      writeRegister(cpu, Slot.RAX, 4, low, 0);
      writeRegister(cpu, Slot.RDX, 4, high, 0);
      setProductFlags(r, high !== 0);
      return;
    }
    default:
      multiply64(r, value, r[Slot.HIGH], r[Slot.RAX], r[Slot.RAX + 1]);
      storeProduct(cpu);
      setProductFlags(r, (product[2] | product[3]) !== 0);
  }
};

function storeProduct(cpu: Cpu): void {
  writeRegister(cpu, Slot.RAX, 8, product[0], product[1]);
  writeRegister(cpu, Slot.RDX, 8, product[2], product[3]);
}

/** IMUL Ev with one operand. */
export const multiplySigned: Executor = (cpu, i) => {
  const { r } = cpu;
  const value = readOperand(cpu, i, i.width);
  switch (i.width) {
    case 1: {
      const result = ((value << 24) >> 24) * ((cpu.r8[AX] << 24) >> 24);
      cpu.r16[AX] = result;
      setProductFlags(r, result !== (result << 24) >> 24);
      return;
    }
    case 2: {
      const result = ((value << 16) >> 16) * ((cpu.r16[AX] << 16) >> 16);
      cpu.r16[AX] = result;
      cpu.r16[DX] = result >>> 16;
      setProductFlags(r, result !== (result << 16) >> 16);
      return;
    }
    case 4: {
      const a = r[Slot.RAX];
      const low = multiply32(r, value, a);
      const high = (r[Slot.HIGH] - (value < 0 ? a : 0) - (a < 0 ? value : 0)) | 0;
      writeRegister(cpu, Slot.RAX, 4, low, 0);
      writeRegister(cpu, Slot.RDX, 4, high, 0);
      setProductFlags(r, high !== low >> 31);
      return;
    }
    default: {
      const high = r[Slot.HIGH];
      multiply64(r, value, high, r[Slot.RAX], r[Slot.RAX + 1]);
      correctSign(value, high, r[Slot.RAX], r[Slot.RAX + 1]);
      storeProduct(cpu);
      setProductFlags(r, isSignedOverflow());
    }
  }
};

function isSignedOverflow(): boolean {
  const sign = product[1] >> 31;
  return product[2] !== sign || product[3] !== sign;
}

/** reg <- value * (other, otherHigh), signed and cut to the width. */
function multiplyInto(cpu: Cpu, i: Instruction, value: number, high: number, other: number, otherHigh: number): void {
  const { r } = cpu;
  if (i.width === 8) {
    multiply64(r, value, high, other, otherHigh);
    correctSign(value, high, other, otherHigh);
    writeRegister(cpu, i.reg, 8, product[0], product[1]);
    setProductFlags(r, isSignedOverflow());
  } else if (i.width === 4) {
    const low = multiply32(r, value, other);
    const upper = (r[Slot.HIGH] - (value < 0 ? other : 0) - (other < 0 ? value : 0)) | 0;
    writeRegister(cpu, i.reg, 4, low, 0);
    setProductFlags(r, upper !== low >> 31);
  } else {
    const result = ((value << 16) >> 16) * ((other << 16) >> 16);
    cpu.r16[i.reg] = result;
    setProductFlags(r, result !== (result << 16) >> 16);
  }
}

/** IMUL Gv,Ev. */
export const multiplyRegister: Executor = (cpu, i) => {
  const value = readOperand(cpu, i, i.width);
  const high = cpu.r[Slot.HIGH];
  const other = readRegister(cpu, i.reg, i.width);
  multiplyInto(cpu, i, value, high, other, cpu.r[Slot.HIGH]);
};

/** IMUL Gv,Ev,I. */
export const multiplyImmediate: Executor = (cpu, i) => {
  const value = readOperand(cpu, i, i.width);
  multiplyInto(cpu, i, value, cpu.r[Slot.HIGH], i.immediateLow, i.immediateHigh);
};

function divideError(cpu: Cpu): never {
  raise(cpu, Vector.DE, NO_ERROR_CODE);
}

/** DIV Ev. */
export const divide: Executor = (cpu, i) => {
  const { r } = cpu;
  const value = readOperand(cpu, i, i.width);
  switch (i.width) {
    case 1: {
      const quotient = Math.floor(cpu.r16[AX] / value);
      if (value === 0 || quotient > 0xff) divideError(cpu);
      cpu.r16[AX] = quotient | ((cpu.r16[AX] % value) << 8);
      return;
    }
    case 2: {
      const dividend = cpu.r16[DX] * 0x1_0000 + cpu.r16[AX];
      const quotient = Math.floor(dividend / value);
      if (value === 0 || quotient > 0xffff) divideError(cpu);
      cpu.r16[AX] = quotient;
      cpu.r16[DX] = dividend % value;
      return;
    }
    default:
      divideWide(cpu, i.width, value, r[Slot.HIGH]);
  }
};

function divideWide(cpu: Cpu, width: number, low: number, high: number): void {
  const { r } = cpu;
  if (width === 4) {
    const divisor = low >>> 0;
    const upper = r[Slot.RDX] >>> 0;
    if (upper >= divisor) divideError(cpu);
    if (upper === 0) {
      const dividend = r[Slot.RAX] >>> 0;
      writeRegister(cpu, Slot.RAX, 4, Math.floor(dividend / divisor), 0);
      writeRegister(cpu, Slot.RDX, 4, dividend % divisor, 0);
      return;
    }
    dividend128(r[Slot.RAX], upper | 0, 0, 0);
    divide128(low, 0);
    writeRegister(cpu, Slot.RAX, 4, quotient[0], 0);
    writeRegister(cpu, Slot.RDX, 4, remainder[0], 0);
    return;
  }
  if (!isBelow(r[Slot.RDX], r[Slot.RDX + 1], low, high)) divideError(cpu);
  dividend128(r[Slot.RAX], r[Slot.RAX + 1], r[Slot.RDX], r[Slot.RDX + 1]);
  divide128(low, high);
  writeRegister(cpu, Slot.RAX, 8, quotient[0], quotient[1]);
  writeRegister(cpu, Slot.RDX, 8, remainder[0], remainder[1]);
}

const dividend = new Int32Array(4);
const quotient = new Int32Array(2);
const remainder = new Int32Array(2);

function dividend128(word0: number, word1: number, word2: number, word3: number): void {
  dividend[0] = word0;
  dividend[1] = word1;
  dividend[2] = word2;
  dividend[3] = word3;
}

function isBelow(low: number, high: number, otherLow: number, otherHigh: number): boolean {
  return high === otherHigh ? low >>> 0 < otherLow >>> 0 : high >>> 0 < otherHigh >>> 0;
}

/** `dividend` (its upper half below the divisor) by a 64-bit divisor into `quotient` and `remainder`. */
function divide128(low: number, high: number): void {
  if ((dividend[2] | dividend[3]) === 0 && dividend[1] >>> 0 < EXACT_HIGH) {
    const value = (dividend[1] >>> 0) * TWO_32 + (dividend[0] >>> 0);
    const divisor = (high >>> 0) * TWO_32 + (low >>> 0);
    const result = Math.floor(value / divisor);
    const rest = value - result * divisor;
    quotient[0] = result;
    quotient[1] = result / TWO_32;
    remainder[0] = rest;
    remainder[1] = rest / TWO_32;
    return;
  }
  divideByBits(low, high);
}

/** Restoring division, one bit at a time. */
function divideByBits(low: number, high: number): void {
  let restLow = dividend[2];
  let restHigh = dividend[3];
  let resultLow = dividend[0];
  let resultHigh = dividend[1];
  for (let n = 0; n < 64; n++) {
    const out = restHigh >>> 31;
    restHigh = (restHigh << 1) | (restLow >>> 31);
    restLow = (restLow << 1) | (resultHigh >>> 31);
    resultHigh = (resultHigh << 1) | (resultLow >>> 31);
    resultLow <<= 1;
    if (out === 0 && isBelow(restLow, restHigh, low, high)) continue;
    const difference = (restLow >>> 0) - (low >>> 0);
    restLow = difference | 0;
    restHigh = (restHigh - high - (difference < 0 ? 1 : 0)) | 0;
    resultLow |= 1;
  }
  quotient[0] = resultLow;
  quotient[1] = resultHigh;
  remainder[0] = restLow;
  remainder[1] = restHigh;
}

/** IDIV Ev. */
export const divideSigned: Executor = (cpu, i) => {
  const value = readOperand(cpu, i, i.width);
  switch (i.width) {
    case 1: {
      const divisor = (value << 24) >> 24;
      const source = (cpu.r16[AX] << 16) >> 16;
      const result = Math.trunc(source / divisor);
      if (divisor === 0 || result < -0x80 || result > 0x7f) divideError(cpu);
      cpu.r8[AX] = result;
      cpu.r8[AH] = source % divisor;
      return;
    }
    case 2: {
      const divisor = (value << 16) >> 16;
      const source = (cpu.r16[DX] << 16) | cpu.r16[AX];
      const result = Math.trunc(source / divisor);
      if (divisor === 0 || result < -0x8000 || result > 0x7fff) divideError(cpu);
      cpu.r16[AX] = result;
      cpu.r16[DX] = source % divisor;
      return;
    }
    default:
      divideSignedWide(cpu, i.width, value, cpu.r[Slot.HIGH]);
  }
};

function divideSignedWide(cpu: Cpu, width: number, low: number, high: number): void {
  const { r } = cpu;
  const wide = width === 8;
  const divisorNegative = (wide ? high : low) < 0;
  const dividendNegative = (wide ? r[Slot.RDX + 1] : r[Slot.RDX]) < 0;
  if (wide) dividend128(r[Slot.RAX], r[Slot.RAX + 1], r[Slot.RDX], r[Slot.RDX + 1]);
  else dividend128(r[Slot.RAX], r[Slot.RDX], 0, 0);
  if (dividendNegative) negateWords(dividend, wide ? 4 : 2);
  let divisorLow = low;
  let divisorHigh = wide ? high : 0;
  if (divisorNegative) {
    divisorLow = -low | 0;
    divisorHigh = wide ? (~high + (low === 0 ? 1 : 0)) | 0 : 0;
  }
  const fits = wide ? isBelow(dividend[2], dividend[3], divisorLow, divisorHigh) : dividend[1] >>> 0 < divisorLow >>> 0;
  if (!fits) divideError(cpu);
  divide128(divisorLow, divisorHigh);
  const negative = divisorNegative !== dividendNegative;
  if (isTooLarge(wide, negative)) divideError(cpu);
  if (negative) negateWords(quotient, 2);
  if (dividendNegative) negateWords(remainder, 2);
  writeRegister(cpu, Slot.RAX, width, quotient[0], quotient[1]);
  writeRegister(cpu, Slot.RDX, width, remainder[0], remainder[1]);
}

/** Whether the magnitude in `quotient` does not fit the signed width: -2^(n-1) does. */
function isTooLarge(wide: boolean, negative: boolean): boolean {
  const top = wide ? quotient[1] : quotient[0];
  if (top >= 0) return false;
  const isMinimum = top === (0x8000_0000 | 0) && (!wide || quotient[0] === 0);
  return !(negative && isMinimum);
}

function negateWords(words: Int32Array, count: number): void {
  let carry = 1;
  for (let n = 0; n < count; n++) {
    const sum = (~words[n] >>> 0) + carry;
    words[n] = sum;
    carry = sum > 0xffff_ffff ? 1 : 0;
  }
}
