import { Slot } from './slot.ts';

/**
 * Arithmetic flags are kept as the values they derive from, each independent of the others, so that an instruction
 * costs a few plain stores and a condition one load.
 */
export const enum Flag {
  CF = 0x1,
  FIXED = 0x2,
  PF = 0x4,
  AF = 0x10,
  ZF = 0x40,
  SF = 0x80,
  TF = 0x100,
  IF = 0x200,
  DF = 0x400,
  OF = 0x800,
  IOPL = 0x3000,
  NT = 0x4000,
  RF = 0x10000,
  VM = 0x20000,
  AC = 0x40000,
  VIF = 0x80000,
  VIP = 0x100000,
  ID = 0x200000,
}

export const ARITHMETIC_FLAGS = Flag.CF | Flag.PF | Flag.AF | Flag.ZF | Flag.SF | Flag.OF;
/** Every bit of RFLAGS that exists, without the arithmetic flags and bit 1. */
export const SYSTEM_FLAGS = 0x3f_7700;

const PARITY_OF_NIBBLE = 0x6996;
const CF_CARRY = 0x8000_0000 | 0;
const OF_CARRY = 0x4000_0000;
const ODD_PARITY = 1;

export function carryFlag(r: Int32Array): number {
  return r[Slot.CARRIES] >>> 31;
}

function overflow(r: Int32Array): boolean {
  return (r[Slot.CARRIES] ^ (r[Slot.CARRIES] << 1)) < 0;
}

function less(r: Int32Array): boolean {
  return (r[Slot.SIGN] ^ r[Slot.CARRIES] ^ (r[Slot.CARRIES] << 1)) < 0;
}

function parity(r: Int32Array): boolean {
  const byte = r[Slot.PARITY];
  return ((PARITY_OF_NIBBLE >> ((byte ^ (byte >> 4)) & 15)) & 1) === 0;
}

/** Condition codes of Jcc, SETcc and CMOVcc, by the low four bits of the opcode. */
export function condition(r: Int32Array, code: number): boolean {
  switch (code) {
    case 0:
      return overflow(r);
    case 1:
      return !overflow(r);
    case 2:
      return r[Slot.CARRIES] < 0;
    case 3:
      return r[Slot.CARRIES] >= 0;
    case 4:
      return r[Slot.ZERO_TEST] === 0;
    case 5:
      return r[Slot.ZERO_TEST] !== 0;
    case 6:
      return r[Slot.CARRIES] < 0 || r[Slot.ZERO_TEST] === 0;
    case 7:
      return r[Slot.CARRIES] >= 0 && r[Slot.ZERO_TEST] !== 0;
    case 8:
      return r[Slot.SIGN] < 0;
    case 9:
      return r[Slot.SIGN] >= 0;
    case 10:
      return parity(r);
    case 11:
      return !parity(r);
    case 12:
      return less(r);
    case 13:
      return !less(r);
    case 14:
      return less(r) || r[Slot.ZERO_TEST] === 0;
    default:
      return !less(r) && r[Slot.ZERO_TEST] !== 0;
  }
}

export function readArithmeticFlags(r: Int32Array): number {
  return (
    (r[Slot.CARRIES] >>> 31) |
    (parity(r) ? Flag.PF : 0) |
    (r[Slot.ADJUST] & Flag.AF) |
    (r[Slot.ZERO_TEST] === 0 ? Flag.ZF : 0) |
    (r[Slot.SIGN] < 0 ? Flag.SF : 0) |
    (overflow(r) ? Flag.OF : 0)
  );
}

export function writeArithmeticFlags(r: Int32Array, flags: number): void {
  const carry = flags & Flag.CF;
  const overflows = (flags & Flag.OF) !== 0 ? 1 : 0;
  r[Slot.CARRIES] = (carry !== 0 ? CF_CARRY : 0) | ((carry ^ overflows) !== 0 ? OF_CARRY : 0);
  r[Slot.ZERO_TEST] = (flags & Flag.ZF) !== 0 ? 0 : 1;
  r[Slot.SIGN] = (flags & Flag.SF) !== 0 ? -1 : 0;
  r[Slot.PARITY] = (flags & Flag.PF) !== 0 ? 0 : ODD_PARITY;
  r[Slot.ADJUST] = flags & Flag.AF;
}

/** Changes CF and OF, leaves the others. */
export function setCarryAndOverflow(r: Int32Array, carry: boolean, overflows: boolean): void {
  r[Slot.CARRIES] = (carry ? CF_CARRY : 0) | (carry !== overflows ? OF_CARRY : 0);
}

/** Changes CF, leaves the others. */
export function setCarry(r: Int32Array, carry: boolean): void {
  setCarryAndOverflow(r, carry, overflow(r));
}

/** Changes ZF, leaves the others. */
export function setZero(r: Int32Array, zero: boolean): void {
  r[Slot.ZERO_TEST] = zero ? 0 : 1;
}

/** RFLAGS bits 31:0; bits 63:32 are always 0. */
export function readFlags(r: Int32Array): number {
  return r[Slot.SYSTEM_FLAGS] | Flag.FIXED | readArithmeticFlags(r);
}

export function writeFlags(r: Int32Array, flags: number): void {
  r[Slot.SYSTEM_FLAGS] = flags & SYSTEM_FLAGS;
  writeArithmeticFlags(r, flags);
}
