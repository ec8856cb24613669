import type { Cpu } from '../cpu.ts';
import { Attribute, type Executor, type Instruction } from '../instruction.ts';
import { load8, load16, load32, load64, store8, store16, store32, store64 } from '../linear-memory.ts';
import { Slot } from '../slot.ts';

/** Tells the compiler that a word index is small and not negative. */
export const INDEX = 63;

/**
 * Linear address of the memory operand: returns the low word, leaves the high one in `Slot.ADDRESS_HIGH`.
 * Carries are taken from the sign bits, because a sum of unsigned words would leave the range of int32.
 */
export function address(cpu: Cpu, i: Instruction): number {
  const { r } = cpu;
  const slot = i.base & INDEX;
  const base = r[slot];
  const displacement = i.displacementLow;
  const low = (base + displacement) | 0;
  const carry = ((base & displacement) | ((base | displacement) & ~low)) >>> 31;
  const high = (r[slot + 1] + i.displacementHigh + carry) | 0;
  if (!i.isSimpleAddress) return addressOfParts(cpu, i, low, high);
  r[Slot.ADDRESS_HIGH] = high;
  return low;
}

/** The rest of an address that has more than base and displacement, or is cut to 32 or 16 bits. */
function addressOfParts(cpu: Cpu, i: Instruction, baseLow: number, baseHigh: number): number {
  const { r } = cpu;
  let low = baseLow;
  let high = baseHigh;
  if (i.index >= 0) {
    const indexLow = r[i.index];
    const scaled = indexLow << i.scale;
    const scaledHigh = i.scale === 0 ? r[i.index + 1] : (r[i.index + 1] << i.scale) | (indexLow >>> (32 - i.scale));
    const sum = (low + scaled) | 0;
    high = (high + scaledHigh + (((low & scaled) | ((low | scaled) & ~sum)) >>> 31)) | 0;
    low = sum;
  }
  if (i.addressWidth !== 8) {
    high = 0;
    if (i.addressWidth === 2) low &= 0xffff;
  }
  if (i.segment >= 0) {
    const segmentLow = cpu.v[i.segment] | 0;
    const sum = (low + segmentLow) | 0;
    high = (high + cpu.v[i.segment + 1] + (((low & segmentLow) | ((low | segmentLow) & ~sum)) >>> 31)) | 0;
    low = sum;
    if (cpu.mode !== 64) high = 0;
  }
  r[Slot.ADDRESS_HIGH] = high;
  return low;
}

export function isMemory(i: Instruction): boolean {
  return (i.attributes & Attribute.MEMORY) !== 0;
}

/** Executors of one instruction by operand width. */
export interface ByWidth {
  readonly 1: Executor;
  readonly 2: Executor;
  readonly 4: Executor;
  readonly 8: Executor;
}

export function atWidth(executors: ByWidth, i: Instruction): Executor {
  return executors[i.width as 1 | 2 | 4 | 8];
}

/** For rows whose bytes decide about the executor no further than the operand width. */
export function byWidth(executors: ByWidth): (i: Instruction) => Executor {
  return (i) => atWidth(executors, i);
}

/** For rows with a register and a memory form. */
export function byForm(register: ByWidth, memory: ByWidth): (i: Instruction) => Executor {
  return (i) => atWidth(isMemory(i) ? memory : register, i);
}

/** Reads a register operand of any width, zero-extended; bits 63:32 go to `Slot.HIGH`. */
export function readRegister(cpu: Cpu, index: number, width: number): number {
  switch (width) {
    case 1:
      return cpu.r8[index];
    case 2:
      return cpu.r16[index];
    case 4:
      return cpu.r[index];
    default:
      cpu.r[Slot.HIGH] = cpu.r[index + 1];
      return cpu.r[index];
  }
}

/** Writes a register operand: a 32-bit write clears bits 63:32, narrower ones leave the rest. */
export function writeRegister(cpu: Cpu, index: number, width: number, low: number, high: number): void {
  switch (width) {
    case 1:
      cpu.r8[index] = low;
      return;
    case 2:
      cpu.r16[index] = low;
      return;
    case 4:
      cpu.r[index] = low;
      cpu.r[index + 1] = 0;
      return;
    default:
      cpu.r[index] = low;
      cpu.r[index + 1] = high;
  }
}

export function load(cpu: Cpu, low: number, high: number, width: number): number {
  switch (width) {
    case 1:
      return load8(cpu, low, high);
    case 2:
      return load16(cpu, low, high);
    case 4:
      return load32(cpu, low, high);
    default:
      return load64(cpu, low, high);
  }
}

export function store(cpu: Cpu, low: number, high: number, width: number, valueLow: number, valueHigh: number): void {
  switch (width) {
    case 1:
      store8(cpu, low, high, valueLow);
      return;
    case 2:
      store16(cpu, low, high, valueLow);
      return;
    case 4:
      store32(cpu, low, high, valueLow);
      return;
    default:
      store64(cpu, low, high, valueLow, valueHigh);
  }
}

/** Reads the operand of ModRM.rm, register or memory. */
export function readOperand(cpu: Cpu, i: Instruction, width: number): number {
  if (!isMemory(i)) return readRegister(cpu, i.rm, width);
  const low = address(cpu, i);
  return load(cpu, low, cpu.r[Slot.ADDRESS_HIGH], width);
}

/** Writes the operand of ModRM.rm, register or memory. */
export function writeOperand(cpu: Cpu, i: Instruction, width: number, low: number, high: number): void {
  if (!isMemory(i)) {
    writeRegister(cpu, i.rm, width, low, high);
    return;
  }
  const at = address(cpu, i);
  store(cpu, at, cpu.r[Slot.ADDRESS_HIGH], width, low, high);
}
