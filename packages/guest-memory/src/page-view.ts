import { assert, fail } from './errors.ts';
import type { HostMemory } from './host-memory.ts';

/** The typed arrays that a view reads through. */
export type LinearViews = Pick<HostMemory, 'u8' | 'u16' | 'u32' | 'u64' | 'i32'>;

/**
 * Little-endian accessors over the bytes [base, base + length) of a linear memory, one page unless said otherwise.
 *
 * Each accessor asserts that its offset is an integer inside the view and naturally aligned. Setters store modulo the
 * width of the field. A view never dies: over a mapping that is gone it reads zeros (unmanaged memory) or whatever the
 * frame holds now (managed memory), so keep it no longer than the mapping.
 */
export class PageView {
  // Declared, so that no empty initializer runs: a view is on the hit path of every cache.
  declare readonly base: number;
  declare readonly length: number;
  readonly #u8: Uint8Array;
  readonly #u16: Uint16Array;
  readonly #u32: Uint32Array;
  readonly #i32: Int32Array;
  readonly #u64: BigUint64Array;

  /** `base` is a multiple of 8; the range lies in the memory. */
  constructor(memory: LinearViews, base: number, length = 4096) {
    assert(
      Number.isInteger(base) && base >= 0 && base % 8 === 0,
      () => `page view: base ${base} is not a multiple of 8`,
    );
    assert(Number.isInteger(length) && length >= 0, () => `page view: length ${length} is not a count of bytes`);
    assert(base + length <= memory.u8.length, () => `page view: [${base}, ${base + length}) leaves the memory`);
    this.base = base;
    this.length = length;
    this.#u8 = memory.u8;
    this.#u16 = memory.u16;
    this.#u32 = memory.u32;
    this.#i32 = memory.i32;
    this.#u64 = memory.u64;
  }

  u8(offset: number): number {
    return this.#u8[this.#at(offset, 1)]!;
  }

  u16(offset: number): number {
    return this.#u16[this.#at(offset, 2) >>> 1]!;
  }

  u32(offset: number): number {
    return this.#u32[this.#at(offset, 4) >>> 2]!;
  }

  i32(offset: number): number {
    return this.#i32[this.#at(offset, 4) >>> 2]!;
  }

  u64(offset: number): bigint {
    return this.#u64[this.#at(offset, 8) >>> 3]!;
  }

  /** The low half of the 64-bit field at `offset`. */
  u64Low(offset: number): number {
    return this.#u32[this.#at(offset, 8) >>> 2]!;
  }

  /** The high half of the 64-bit field at `offset`. */
  u64High(offset: number): number {
    return this.#u32[(this.#at(offset, 8) >>> 2) + 1]!;
  }

  setU8(offset: number, value: number): void {
    this.#u8[this.#at(offset, 1)] = value;
  }

  setU16(offset: number, value: number): void {
    this.#u16[this.#at(offset, 2) >>> 1] = value;
  }

  setU32(offset: number, value: number): void {
    this.#u32[this.#at(offset, 4) >>> 2] = value;
  }

  setU64(offset: number, value: bigint): void {
    this.#u64[this.#at(offset, 8) >>> 3] = value;
  }

  /** Stores a 64-bit field from its halves, with no BigInt. Two stores: not atomic. */
  setU64Pair(offset: number, low: number, high: number): void {
    const index = this.#at(offset, 8) >>> 2;
    this.#u32[index] = low;
    this.#u32[index + 1] = high;
  }

  /** The live bytes themselves, no copy. */
  bytes(offset = 0, count = this.length - offset): Uint8Array {
    const valid = Number.isInteger(offset) && Number.isInteger(count) && offset >= 0 && count >= 0;
    if (!valid || offset + count > this.length) this.#fail(offset, count);
    return this.#u8.subarray(this.base + offset, this.base + offset + count);
  }

  /** Atomic fetch-or. Returns the OLD value, unsigned. */
  orU32(offset: number, value: number): number {
    return Atomics.or(this.#u32, this.#at(offset, 4) >>> 2, value);
  }

  /** Atomic fetch-and. Returns the OLD value, unsigned. */
  andU32(offset: number, value: number): number {
    return Atomics.and(this.#u32, this.#at(offset, 4) >>> 2, value);
  }

  /** Atomic exchange. Returns the OLD value, unsigned. */
  exchangeU32(offset: number, value: number): number {
    return Atomics.exchange(this.#u32, this.#at(offset, 4) >>> 2, value);
  }

  /** Atomic compare-exchange. Returns the OLD value, unsigned: it equals `expected` exactly when the store was done. */
  compareExchangeU32(offset: number, expected: number, replacement: number): number {
    return Atomics.compareExchange(this.#u32, this.#at(offset, 4) >>> 2, expected, replacement);
  }

  /** The absolute byte index of an access, checked. */
  #at(offset: number, bytes: number): number {
    const whole = offset >>> 0;
    if (whole !== offset || (whole & (bytes - 1)) !== 0 || whole + bytes > this.length) this.#fail(offset, bytes);
    return this.base + whole;
  }

  #fail(offset: number, bytes: number): never {
    return fail(`page view: ${bytes} bytes at offset ${offset} of ${this.length} are outside or unaligned`);
  }
}
