/** Reads instruction bytes up to a limit. Beyond it reads give 0 and `isShort` tells so: the caller asks once, at the end. */
export class ByteCursor {
  #bytes: Uint8Array = new Uint8Array(0);
  #limit = 0;
  position = 0;
  isShort = false;

  reset(bytes: Uint8Array, first: number, available: number): void {
    this.#bytes = bytes;
    this.position = first;
    this.#limit = first + available;
    this.isShort = false;
  }

  byte(): number {
    if (this.position >= this.#limit) {
      this.isShort = true;
      return 0;
    }
    return this.#bytes[this.position++];
  }

  signedByte(): number {
    return (this.byte() << 24) >> 24;
  }

  word(): number {
    return this.byte() | (this.byte() << 8);
  }

  signedWord(): number {
    return (this.word() << 16) >> 16;
  }

  doubleword(): number {
    return this.word() | (this.word() << 16);
  }
}
