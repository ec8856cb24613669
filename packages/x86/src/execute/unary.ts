import type { Cpu } from '../cpu.ts';
import { raiseGeneralProtection } from '../faults.ts';
import { setCarry, setZero } from '../flags.ts';
import type { Executor, Instruction } from '../instruction.ts';
import { beginUpdate, endUpdate, store64 } from '../linear-memory.ts';
import { Slot } from '../slot.ts';
import { alu32, alu64, aluNarrow } from './alu.ts';
import { Alu } from './alu-operation.ts';
import { address, isMemory, readRegister, writeRegister } from './operands.ts';

export const enum Unary {
  INC = 0,
  DEC = 1,
  NOT = 2,
  NEG = 3,
}

/** Bit 31 of `Slot.CARRIES`. */
const CARRY = 0x8000_0000 | 0;

function compute(cpu: Cpu, i: Instruction, low: number, high: number): number {
  const { r } = cpu;
  switch (i.operation) {
    case Unary.NOT:
      r[Slot.HIGH] = ~high;
      return ~low;
    case Unary.NEG:
      return arithmetic(r, i.width, Alu.SUB, 0, 0, low, high);
    default: {
      const carry = r[Slot.CARRIES] < 0;
      const result = arithmetic(r, i.width, i.operation === Unary.INC ? Alu.ADD : Alu.SUB, low, high, 1, 0);
      setCarry(r, carry);
      return result;
    }
  }
}

function arithmetic(
  r: Int32Array,
  width: number,
  operation: Alu,
  a: number,
  aHigh: number,
  b: number,
  bHigh: number,
): number {
  if (width === 8) return alu64(r, operation, a, aHigh, b, bHigh);
  if (width === 4) return alu32(r, operation, a, b);
  return aluNarrow(r, operation, a, b, 32 - 8 * width);
}

const unaryInRegister: Executor = (cpu, i) => {
  const value = readRegister(cpu, i.rm, i.width);
  const result = compute(cpu, i, value, cpu.r[Slot.HIGH]);
  writeRegister(cpu, i.rm, i.width, result, cpu.r[Slot.HIGH]);
};

const inMemory: Executor = (cpu, i) => {
  const low = address(cpu, i);
  const value = beginUpdate(cpu, low, cpu.r[Slot.ADDRESS_HIGH], i.width);
  const result = compute(cpu, i, value, cpu.r[Slot.HIGH]);
  endUpdate(cpu, i.width, result, cpu.r[Slot.HIGH]);
};

/** INC and DEC of a 32-bit register: CF stays, so bit 31 of the carries is the old one and bit 30 tells OF. */
export const stepRegister32: Executor = (cpu, i) => {
  const { r } = cpu;
  const value = r[i.rm];
  const isIncrement = i.operation === Unary.INC;
  const result = (isIncrement ? value + 1 : value - 1) | 0;
  const overflow = (isIncrement ? ~value & result : value & ~result) >>> 31;
  r[i.rm] = result;
  r[i.rm + 1] = 0;
  setStepFlags(r, result, result, overflow);
  r[Slot.ADJUST] = value ^ result ^ 1;
};

export const stepRegister64: Executor = (cpu, i) => {
  const { r } = cpu;
  const low = r[i.rm];
  const high = r[i.rm + 1];
  const isIncrement = i.operation === Unary.INC;
  const result = (isIncrement ? low + 1 : low - 1) | 0;
  const resultHigh = (isIncrement ? high + (result === 0 ? 1 : 0) : high - (low === 0 ? 1 : 0)) | 0;
  const overflow = (isIncrement ? ~high & resultHigh : high & ~resultHigh) >>> 31;
  r[i.rm] = result;
  r[i.rm + 1] = resultHigh;
  setStepFlags(r, result, resultHigh, overflow);
  r[Slot.ZERO_TEST] = result | resultHigh;
  r[Slot.ADJUST] = low ^ result ^ 1;
};

function setStepFlags(r: Int32Array, low: number, top: number, overflow: number): void {
  const carry = r[Slot.CARRIES] & CARRY;
  r[Slot.CARRIES] = carry | (((carry >>> 31) ^ overflow) << 30);
  r[Slot.ZERO_TEST] = low;
  r[Slot.SIGN] = top;
  r[Slot.PARITY] = low;
}

/** Rows of INC, DEC, NOT and NEG. */
export function unary(i: Instruction): Executor {
  if (isMemory(i)) return inMemory;
  if (i.operation > Unary.DEC || i.width < 4) return unaryInRegister;
  return i.width === 4 ? stepRegister32 : stepRegister64;
}

/** CMPXCHG Ev,Gv. */
export const compareExchange: Executor = (cpu, i) => {
  const { r } = cpu;
  const memory = isMemory(i);
  let at = 0;
  if (memory) at = address(cpu, i);
  const current = memory ? beginUpdate(cpu, at, r[Slot.ADDRESS_HIGH], i.width) : readRegister(cpu, i.rm, i.width);
  const currentHigh = r[Slot.HIGH];
  arithmetic(r, i.width, Alu.CMP, readRegister(cpu, Slot.RAX, i.width), r[Slot.RAX + 1], current, currentHigh);
  const equal = r[Slot.ZERO_TEST] === 0;
  const source = readRegister(cpu, i.reg, i.width);
  const sourceHigh = r[Slot.HIGH];
  if (memory) endUpdate(cpu, i.width, equal ? source : current, equal ? sourceHigh : currentHigh);
  else if (equal) writeRegister(cpu, i.rm, i.width, source, sourceHigh);
  if (!equal) writeRegister(cpu, Slot.RAX, i.width, current, currentHigh);
};

/** XADD Ev,Gv. */
export const exchangeAdd: Executor = (cpu, i) => {
  const { r } = cpu;
  const memory = isMemory(i);
  let at = 0;
  if (memory) at = address(cpu, i);
  const current = memory ? beginUpdate(cpu, at, r[Slot.ADDRESS_HIGH], i.width) : readRegister(cpu, i.rm, i.width);
  const currentHigh = r[Slot.HIGH];
  const source = readRegister(cpu, i.reg, i.width);
  const sum = arithmetic(r, i.width, Alu.ADD, current, currentHigh, source, r[Slot.HIGH]);
  const sumHigh = r[Slot.HIGH];
  if (memory) {
    endUpdate(cpu, i.width, sum, sumHigh);
    writeRegister(cpu, i.reg, i.width, current, currentHigh);
  } else {
    writeRegister(cpu, i.reg, i.width, current, currentHigh);
    writeRegister(cpu, i.rm, i.width, sum, sumHigh);
  }
};

/** CMPXCHG8B and CMPXCHG16B: the wide forms compare with rDX:rAX and store rCX:rBX. */
export const compareExchangePair: Executor = (cpu, i) => {
  if (i.width === 8) compareExchange16(cpu, i);
  else compareExchange8(cpu, i);
};

function compareExchange8(cpu: Cpu, i: Instruction): void {
  const { r } = cpu;
  const at = address(cpu, i);
  const low = beginUpdate(cpu, at, r[Slot.ADDRESS_HIGH], 8);
  const high = r[Slot.HIGH];
  const equal = low === r[Slot.RAX] && high === r[Slot.RDX];
  endUpdate(cpu, 8, equal ? r[Slot.RBX] : low, equal ? r[Slot.RCX] : high);
  setZero(r, equal);
  if (equal) return;
  writeRegister(cpu, Slot.RAX, 4, low, 0);
  writeRegister(cpu, Slot.RDX, 4, high, 0);
}

function compareExchange16(cpu: Cpu, i: Instruction): void {
  const { r } = cpu;
  const at = address(cpu, i);
  const atHigh = r[Slot.ADDRESS_HIGH];
  if ((at & 15) !== 0) raiseGeneralProtection(cpu);
  const upper = beginUpdate(cpu, (at + 8) | 0, atHigh, 8);
  const upperHigh = r[Slot.HIGH];
  const lower = beginUpdate(cpu, at, atHigh, 8);
  const lowerHigh = r[Slot.HIGH];
  const equal =
    lower === r[Slot.RAX] && lowerHigh === r[Slot.RAX + 1] && upper === r[Slot.RDX] && upperHigh === r[Slot.RDX + 1];
  if (equal) {
    endUpdate(cpu, 8, r[Slot.RBX], r[Slot.RBX + 1]);
    store64(cpu, (at + 8) | 0, atHigh, r[Slot.RCX], r[Slot.RCX + 1]);
  } else {
    endUpdate(cpu, 8, lower, lowerHigh);
    writeRegister(cpu, Slot.RAX, 8, lower, lowerHigh);
    writeRegister(cpu, Slot.RDX, 8, upper, upperHigh);
  }
  setZero(r, equal);
}
