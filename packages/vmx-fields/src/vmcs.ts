import { assert } from './assert.ts';
import { type FieldAccess, fieldBits, fieldRows } from './fields.ts';

const ADDRESS_HIGH_LIMIT = 2 ** 20;

/**
 * The values of all VMCS fields, two 32-bit words each: `words[field.X]` is the low half of X, the word after it the high half.
 * Accessors take such an index. They allocate nothing, except those that speak `bigint`.
 *
 * The class holds bytes and knows no rules: width, access rights and launch state are the business of whoever writes.
 * The high word of a 16-bit or 32-bit field stays 0 as long as {@link write32} or {@link writeField} write it.
 */
export class Vmcs {
  readonly words: Uint32Array = new Uint32Array(fieldRows.length * 2);

  /** The low word, unsigned. */
  read32(word: number): number {
    return this.words[word]!;
  }

  /** Writes the low word and leaves the high one. */
  write32(word: number, value: number): void {
    this.words[word] = value;
  }

  write64(word: number, low: number, high: number): void {
    this.words[word] = low;
    this.words[word + 1] = high;
  }

  /** The value as an address below 2^52. Asserts that it is one: a field that L1 may set freely must be checked before. */
  readAddress(word: number): number {
    const high = this.words[word + 1]!;
    assert(high < ADDRESS_HIGH_LIMIT, `word ${word} holds no address below 2^52`);
    return high * 0x1_0000_0000 + this.words[word]!;
  }

  readBig(word: number): bigint {
    return (BigInt(this.words[word + 1]!) << 32n) | BigInt(this.words[word]!);
  }

  /** Writes the value modulo 2^64. */
  writeBig(word: number, value: bigint): void {
    this.words[word] = Number(value & 0xffff_ffffn);
    this.words[word + 1] = Number((value >> 32n) & 0xffff_ffffn);
  }

  /** What VMREAD of this field gives in a 64-bit register: zero-extended; the high half of a field comes down to bit 0. */
  readField({ row, high }: FieldAccess): bigint {
    return high ? BigInt(this.words[row.word + 1]!) : this.readBig(row.word);
  }

  /**
   * What VMWRITE of a 64-bit register stores: bits above the width of the field are ignored, the half not named is left.
   * Intel SDM volume 3, "VMWRITE".
   */
  writeField({ row, high }: FieldAccess, value: bigint): void {
    if (high) this.words[row.word + 1] = Number(value & 0xffff_ffffn);
    else this.writeBig(row.word, BigInt.asUintN(fieldBits(row.width), value));
  }

  /** {@link writeField} from the two halves of the register, without a bigint. */
  writeFieldPair({ row, high: isHigh }: FieldAccess, low: number, high: number): void {
    const bits = fieldBits(row.width);
    if (isHigh) this.words[row.word + 1] = low;
    else if (bits === 64) this.write64(row.word, low, high);
    else this.write64(row.word, bits === 16 ? low & 0xffff : low, 0);
  }

  copyFrom(other: Vmcs): void {
    this.words.set(other.words);
  }

  clear(): void {
    this.words.fill(0);
  }
}
