const VECTORS = 256;

/** A 256-bit register of a local APIC: one bit a vector, as IRR, ISR and TMR are. */
export class VectorSet {
  /** Eight 32-bit words, vector `v` in bit `v % 32` of word `v / 32`. */
  readonly words: Uint32Array = new Uint32Array(VECTORS / 32);

  has(vector: number): boolean {
    return ((this.words[vector >>> 5]! >>> (vector & 31)) & 1) === 1;
  }

  add(vector: number): void {
    this.words[vector >>> 5]! |= 1 << (vector & 31);
  }

  remove(vector: number): void {
    this.words[vector >>> 5]! &= ~(1 << (vector & 31));
  }

  /** The highest vector, or -1. */
  highest(): number {
    for (let word = this.words.length - 1; word >= 0; word -= 1) {
      const bits = this.words[word]!;
      if (bits !== 0) return word * 32 + 31 - Math.clz32(bits);
    }
    return -1;
  }
}
