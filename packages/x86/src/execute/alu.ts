import type { Cpu } from '../cpu.ts';
import type { Executor, Instruction } from '../instruction.ts';
import { beginUpdate, endUpdate, load8, load16, load32, load64 } from '../linear-memory.ts';
import { Slot } from '../slot.ts';
import { Alu } from './alu-operation.ts';
import { address, atWidth, type ByWidth, isMemory } from './operands.ts';
import { straightAlu } from './straight-alu.ts';

function setFlags32(r: Int32Array, result: number, carries: number, adjust: number): number {
  r[Slot.CARRIES] = carries;
  r[Slot.ZERO_TEST] = result;
  r[Slot.SIGN] = result;
  r[Slot.PARITY] = result;
  r[Slot.ADJUST] = adjust;
  return result;
}

function setFlags64(r: Int32Array, low: number, high: number, carries: number, adjust: number): number {
  r[Slot.CARRIES] = carries;
  r[Slot.ZERO_TEST] = low | high;
  r[Slot.SIGN] = high;
  r[Slot.PARITY] = low;
  r[Slot.ADJUST] = adjust;
  r[Slot.HIGH] = high;
  return low;
}

function add32(r: Int32Array, a: number, b: number, carry: number): number {
  const s = (a + b + carry) | 0;
  return setFlags32(r, s, (a & b) | ((a | b) & ~s), a ^ b ^ s);
}

function sub32(r: Int32Array, a: number, b: number, borrow: number): number {
  const s = (a - b - borrow) | 0;
  return setFlags32(r, s, (~a & b) | ((~a | b) & s), a ^ b ^ s);
}

/** Computes and sets flags; gives the result, also for CMP and TEST, which do not store it. */
export function alu32(r: Int32Array, operation: Alu, a: number, b: number): number {
  switch (operation) {
    case Alu.ADD:
      return add32(r, a, b, 0);
    case Alu.OR:
      return setFlags32(r, a | b, 0, 0);
    case Alu.ADC:
      return add32(r, a, b, r[Slot.CARRIES] >>> 31);
    case Alu.SBB:
      return sub32(r, a, b, r[Slot.CARRIES] >>> 31);
    case Alu.AND:
    case Alu.TEST:
      return setFlags32(r, a & b, 0, 0);
    case Alu.XOR:
      return setFlags32(r, a ^ b, 0, 0);
    default:
      return sub32(r, a, b, 0);
  }
}

function add64(r: Int32Array, a: number, aHigh: number, b: number, bHigh: number, carry: number): number {
  const s = (a + b + carry) | 0;
  const middle = ((a & b) | ((a | b) & ~s)) >>> 31;
  const sHigh = (aHigh + bHigh + middle) | 0;
  return setFlags64(r, s, sHigh, (aHigh & bHigh) | ((aHigh | bHigh) & ~sHigh), a ^ b ^ s);
}

function sub64(r: Int32Array, a: number, aHigh: number, b: number, bHigh: number, borrow: number): number {
  const s = (a - b - borrow) | 0;
  const middle = ((~a & b) | ((~a | b) & s)) >>> 31;
  const sHigh = (aHigh - bHigh - middle) | 0;
  return setFlags64(r, s, sHigh, (~aHigh & bHigh) | ((~aHigh | bHigh) & sHigh), a ^ b ^ s);
}

/** `alu32` for 64 bits: returns the low word, leaves the high one in `Slot.HIGH`. */
export function alu64(r: Int32Array, operation: Alu, a: number, aHigh: number, b: number, bHigh: number): number {
  switch (operation) {
    case Alu.ADD:
      return add64(r, a, aHigh, b, bHigh, 0);
    case Alu.OR:
      return setFlags64(r, a | b, aHigh | bHigh, 0, 0);
    case Alu.ADC:
      return add64(r, a, aHigh, b, bHigh, r[Slot.CARRIES] >>> 31);
    case Alu.SBB:
      return sub64(r, a, aHigh, b, bHigh, r[Slot.CARRIES] >>> 31);
    case Alu.AND:
    case Alu.TEST:
      return setFlags64(r, a & b, aHigh & bHigh, 0, 0);
    case Alu.XOR:
      return setFlags64(r, a ^ b, aHigh ^ bHigh, 0, 0);
    default:
      return sub64(r, a, aHigh, b, bHigh, 0);
  }
}

/** `alu32` for 8 and 16 bits; `shift` is 32 minus the width. Operands may have any bits above their width. */
export function aluNarrow(r: Int32Array, operation: Alu, a: number, b: number, shift: number): number {
  const result = alu32(r, operation, a, b);
  r[Slot.CARRIES] <<= shift;
  r[Slot.SIGN] = result << shift;
  r[Slot.ZERO_TEST] = result << shift;
  return result;
}

const BYTE = 24;
const WORD = 16;

function isStored(i: Instruction): boolean {
  return i.operation < Alu.CMP;
}

/** rm <- rm op reg */
const registerRegister: ByWidth = {
  1: (cpu, i) => {
    const result = aluNarrow(cpu.r, i.operation, cpu.r8[i.rm], cpu.r8[i.reg], BYTE);
    if (isStored(i)) cpu.r8[i.rm] = result;
  },
  2: (cpu, i) => {
    const result = aluNarrow(cpu.r, i.operation, cpu.r16[i.rm], cpu.r16[i.reg], WORD);
    if (isStored(i)) cpu.r16[i.rm] = result;
  },
  4: (cpu, i) => {
    const { r } = cpu;
    const result = alu32(r, i.operation, r[i.rm], r[i.reg]);
    if (!isStored(i)) return;
    r[i.rm] = result;
    r[i.rm + 1] = 0;
  },
  8: (cpu, i) => {
    const { r } = cpu;
    const result = alu64(r, i.operation, r[i.rm], r[i.rm + 1], r[i.reg], r[i.reg + 1]);
    if (!isStored(i)) return;
    r[i.rm] = result;
    r[i.rm + 1] = r[Slot.HIGH];
  },
};

/** rm <- rm op immediate */
export const registerImmediate: ByWidth = {
  1: (cpu, i) => {
    const result = aluNarrow(cpu.r, i.operation, cpu.r8[i.rm], i.immediateLow, BYTE);
    if (isStored(i)) cpu.r8[i.rm] = result;
  },
  2: (cpu, i) => {
    const result = aluNarrow(cpu.r, i.operation, cpu.r16[i.rm], i.immediateLow, WORD);
    if (isStored(i)) cpu.r16[i.rm] = result;
  },
  4: (cpu, i) => {
    const { r } = cpu;
    const result = alu32(r, i.operation, r[i.rm], i.immediateLow);
    if (!isStored(i)) return;
    r[i.rm] = result;
    r[i.rm + 1] = 0;
  },
  8: (cpu, i) => {
    const { r } = cpu;
    const result = alu64(r, i.operation, r[i.rm], r[i.rm + 1], i.immediateLow, i.immediateHigh);
    if (!isStored(i)) return;
    r[i.rm] = result;
    r[i.rm + 1] = r[Slot.HIGH];
  },
};

/** reg <- reg op memory */
export const registerMemory: ByWidth = {
  1: (cpu, i) => {
    const low = address(cpu, i);
    const value = load8(cpu, low, cpu.r[Slot.ADDRESS_HIGH]);
    const result = aluNarrow(cpu.r, i.operation, cpu.r8[i.reg], value, BYTE);
    if (isStored(i)) cpu.r8[i.reg] = result;
  },
  2: (cpu, i) => {
    const low = address(cpu, i);
    const value = load16(cpu, low, cpu.r[Slot.ADDRESS_HIGH]);
    const result = aluNarrow(cpu.r, i.operation, cpu.r16[i.reg], value, WORD);
    if (isStored(i)) cpu.r16[i.reg] = result;
  },
  4: (cpu, i) => {
    const { r } = cpu;
    const low = address(cpu, i);
    const value = load32(cpu, low, r[Slot.ADDRESS_HIGH]);
    const result = alu32(r, i.operation, r[i.reg], value);
    if (!isStored(i)) return;
    r[i.reg] = result;
    r[i.reg + 1] = 0;
  },
  8: (cpu, i) => {
    const { r } = cpu;
    const low = address(cpu, i);
    const value = load64(cpu, low, r[Slot.ADDRESS_HIGH]);
    const result = alu64(r, i.operation, r[i.reg], r[i.reg + 1], value, r[Slot.HIGH]);
    if (!isStored(i)) return;
    r[i.reg] = result;
    r[i.reg + 1] = r[Slot.HIGH];
  },
};

/** Flags of memory op reg, for CMP and TEST: the operand is only read. */
export const compareMemoryRegister: ByWidth = {
  1: (cpu, i) => {
    const low = address(cpu, i);
    aluNarrow(cpu.r, i.operation, load8(cpu, low, cpu.r[Slot.ADDRESS_HIGH]), cpu.r8[i.reg], BYTE);
  },
  2: (cpu, i) => {
    const low = address(cpu, i);
    aluNarrow(cpu.r, i.operation, load16(cpu, low, cpu.r[Slot.ADDRESS_HIGH]), cpu.r16[i.reg], WORD);
  },
  4: (cpu, i) => {
    const low = address(cpu, i);
    alu32(cpu.r, i.operation, load32(cpu, low, cpu.r[Slot.ADDRESS_HIGH]), cpu.r[i.reg]);
  },
  8: (cpu, i) => {
    const { r } = cpu;
    const low = address(cpu, i);
    const value = load64(cpu, low, r[Slot.ADDRESS_HIGH]);
    alu64(r, i.operation, value, r[Slot.HIGH], r[i.reg], r[i.reg + 1]);
  },
};

const compareMemoryImmediate: ByWidth = {
  1: (cpu, i) => {
    const low = address(cpu, i);
    aluNarrow(cpu.r, i.operation, load8(cpu, low, cpu.r[Slot.ADDRESS_HIGH]), i.immediateLow, BYTE);
  },
  2: (cpu, i) => {
    const low = address(cpu, i);
    aluNarrow(cpu.r, i.operation, load16(cpu, low, cpu.r[Slot.ADDRESS_HIGH]), i.immediateLow, WORD);
  },
  4: (cpu, i) => {
    const low = address(cpu, i);
    alu32(cpu.r, i.operation, load32(cpu, low, cpu.r[Slot.ADDRESS_HIGH]), i.immediateLow);
  },
  8: (cpu, i) => {
    const { r } = cpu;
    const low = address(cpu, i);
    const value = load64(cpu, low, r[Slot.ADDRESS_HIGH]);
    alu64(r, i.operation, value, r[Slot.HIGH], i.immediateLow, i.immediateHigh);
  },
};

/** Faults of the store come before the flags change: `beginUpdate` has made sure of the store. */
function update(cpu: Cpu, i: Instruction, source: number, sourceHigh: number): void {
  const { r } = cpu;
  const low = address(cpu, i);
  const value = beginUpdate(cpu, low, r[Slot.ADDRESS_HIGH], i.width);
  if (i.width === 8) {
    const result = alu64(r, i.operation, value, r[Slot.HIGH], source, sourceHigh);
    endUpdate(cpu, 8, result, r[Slot.HIGH]);
  } else if (i.width === 4) {
    endUpdate(cpu, 4, alu32(r, i.operation, value, source), 0);
  } else {
    endUpdate(cpu, i.width, aluNarrow(r, i.operation, value, source, 32 - 8 * i.width), 0);
  }
}

const memoryRegister: ByWidth = {
  1: (cpu, i) => update(cpu, i, cpu.r8[i.reg], 0),
  2: (cpu, i) => update(cpu, i, cpu.r16[i.reg], 0),
  4: (cpu, i) => update(cpu, i, cpu.r[i.reg], 0),
  8: (cpu, i) => update(cpu, i, cpu.r[i.reg], cpu.r[i.reg + 1]),
};

const memoryImmediate: Executor = (cpu, i) => update(cpu, i, i.immediateLow, i.immediateHigh);

/** Rows `op Ev,Gv`. */
export function aluToOperand(i: Instruction): Executor {
  if (!isMemory(i)) return straightAlu(i, 'register') ?? atWidth(registerRegister, i);
  return atWidth(isStored(i) ? memoryRegister : compareMemoryRegister, i);
}

/** Rows `op Gv,Ev`. */
export function aluToRegister(i: Instruction): Executor {
  if (isMemory(i)) return atWidth(registerMemory, i);
  const { reg, rm } = i;
  i.rm = reg;
  i.reg = rm;
  return straightAlu(i, 'register') ?? atWidth(registerRegister, i);
}

/** Rows `op Ev,I` and `op rAX,I`. */
export function aluImmediate(i: Instruction): Executor {
  if (!isMemory(i)) return straightAlu(i, 'immediate') ?? atWidth(registerImmediate, i);
  return isStored(i) ? memoryImmediate : atWidth(compareMemoryImmediate, i);
}
