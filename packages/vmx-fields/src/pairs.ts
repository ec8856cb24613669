import { assert } from './assert.ts';

/** Helpers over 64-bit values as pairs of 32-bit halves. Halves may come signed or unsigned; results are unsigned. */

/** The pair as an address below 2^52. Asserts that it is one. */
export function pairToAddress(low: number, high: number): number {
  assert(high >>> 0 < 0x10_0000, `0x${(high >>> 0).toString(16)}_${(low >>> 0).toString(16)} is no address below 2^52`);
  return (high >>> 0) * 0x1_0000_0000 + (low >>> 0);
}

/** Low half of an address below 2^52. */
export function addressLow(address: number): number {
  return address >>> 0;
}

/** High half of an address below 2^52. */
export function addressHigh(address: number): number {
  return Math.floor(address / 0x1_0000_0000);
}

/** The pair as a value below 2^64. */
export function pairToBig(low: number, high: number): bigint {
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
}

/** Low half of the value modulo 2^64. */
export function bigLow(value: bigint): number {
  return Number(value & 0xffff_ffffn);
}

/** High half of the value modulo 2^64. */
export function bigHigh(value: bigint): number {
  return Number((value >> 32n) & 0xffff_ffffn);
}

/** Whether the pair sign-extends from bit 47, or from bit 56 with 5-level paging. */
export function isCanonicalPair(high: number, { addressBits }: { addressBits: 48 | 57 }): boolean {
  const top = (high | 0) >> (addressBits - 33);
  return top === 0 || top === -1;
}

/** Whether a guest-physical address stays below 2^width. The low half never decides: width is 32 or more. */
export function fitsPhysicalWidth(high: number, { width }: { width: number }): boolean {
  return high >>> 0 < 2 ** (width - 32);
}

/** Whether the low half is a multiple of a power of two. */
export function isAligned(low: number, { bytes }: { bytes: number }): boolean {
  return (low & (bytes - 1)) === 0;
}
