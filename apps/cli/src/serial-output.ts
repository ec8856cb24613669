import type { OutputStream } from './environment.ts';

const CHUNK_BYTES = 4096;
const NEWLINE = 0x0a;

/** What the guest writes to its serial port, passed on unchanged, a line at a time or when asked. */
export class SerialOutput {
  readonly #stream: OutputStream;
  readonly #chunk = new Uint8Array(CHUNK_BYTES);
  #count = 0;
  #last = NEWLINE;

  constructor(stream: OutputStream) {
    this.#stream = stream;
  }

  readonly put = (byte: number): void => {
    this.#chunk[this.#count++] = byte;
    this.#last = byte;
    if (byte === NEWLINE || this.#count === CHUNK_BYTES) this.flush();
  };

  flush(): void {
    if (this.#count === 0) return;
    this.#stream.write(this.#chunk.slice(0, this.#count));
    this.#count = 0;
  }

  /** Ends the output; on a terminal what follows begins on a line of its own. */
  end(): void {
    this.flush();
    if (this.#last !== NEWLINE && this.#stream.isTTY === true) this.#stream.write('\n');
  }
}
