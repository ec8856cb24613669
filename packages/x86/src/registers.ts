/** Numbers of the general registers, for `Registers`. */
export const RAX = 0;
export const RCX = 1;
export const RDX = 2;
export const RBX = 3;
export const RSP = 4;
export const RBP = 5;
export const RSI = 6;
export const RDI = 7;
export const R8 = 8;
export const R9 = 9;
export const R10 = 10;
export const R11 = 11;
export const R12 = 12;
export const R13 = 13;
export const R14 = 14;
export const R15 = 15;

const NUMBER_MASK = 15;
const HALF = 32n;

/**
 * The general registers of a processor, by number (RAX = 0 ... R15 = 15).
 * They are not part of the VMCS: a VM exit leaves them as the guest had them, and the next VM entry starts with them.
 * RSP is the exception: VM entry loads it from GUEST_RSP, and VM exit saves it there.
 */
export class Registers {
  readonly #words: Int32Array;

  constructor(words: Int32Array) {
    this.#words = words;
  }

  /** Bits 31:0, signed. */
  low(register: number): number {
    return this.#words[(register & NUMBER_MASK) * 2];
  }

  /** Bits 63:32, signed. */
  high(register: number): number {
    return this.#words[(register & NUMBER_MASK) * 2 + 1];
  }

  set(register: number, low: number, high: number): void {
    this.#words[(register & NUMBER_MASK) * 2] = low;
    this.#words[(register & NUMBER_MASK) * 2 + 1] = high;
  }

  big(register: number): bigint {
    return (BigInt(this.high(register) >>> 0) << HALF) | BigInt(this.low(register) >>> 0);
  }

  /** Sets the register to `value` modulo 2^64. */
  setBig(register: number, value: bigint): void {
    this.set(register, Number(BigInt.asIntN(32, value)), Number(BigInt.asIntN(32, value >> HALF)));
  }
}
