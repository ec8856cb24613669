import { type Cpu, UNWIND } from './cpu.ts';

/** Exception vectors. */
export const enum Vector {
  DE = 0,
  DB = 1,
  NMI = 2,
  BP = 3,
  OF = 4,
  BR = 5,
  UD = 6,
  NM = 7,
  DF = 8,
  TS = 10,
  NP = 11,
  SS = 12,
  GP = 13,
  PF = 14,
  MF = 16,
  AC = 17,
  MC = 18,
}

export const NO_ERROR_CODE = -1;

/** Leaves the instruction with a fault. Nothing that the instruction changes may have been changed yet. */
export function raise(cpu: Cpu, vector: Vector, errorCode: number): never {
  cpu.faultVector = vector;
  cpu.faultErrorCode = errorCode;
  cpu.faultIsNonCanonical = false;
  throw UNWIND;
}

export function raiseUndefinedOpcode(cpu: Cpu): never {
  raise(cpu, Vector.UD, NO_ERROR_CODE);
}

export function raiseGeneralProtection(cpu: Cpu, errorCode = 0): never {
  raise(cpu, Vector.GP, errorCode);
}

export function raisePageFault(cpu: Cpu, low: number, high: number, errorCode: number): never {
  cpu.faultLow = low;
  cpu.faultHigh = high;
  raise(cpu, Vector.PF, errorCode);
}

/** A linear address whose bits 63:47 differ: #SS(0) through the stack segment, else #GP(0). */
export function raiseNonCanonical(cpu: Cpu, low: number, high: number): never {
  cpu.faultVector = Vector.GP;
  cpu.faultErrorCode = 0;
  cpu.faultIsNonCanonical = true;
  cpu.faultLow = low;
  cpu.faultHigh = high;
  throw UNWIND;
}

/** Whether bits 63:47 of an address are equal, by its high word. */
export function isCanonical(high: number): boolean {
  return (high << 16) >> 16 === high;
}
