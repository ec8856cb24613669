import { assert, OperatingError } from '@nvmx/guest-memory';

/**
 * Which pages of one memslot were written since the last harvest, one bit a page, little-endian as KVM_GET_DIRTY_LOG.
 * Shared by the old and the new version of a slot, so that a writer under the old snapshot is not lost.
 */
export class DirtyLog {
  readonly pageCount: number;
  #bits: Uint8Array;
  #dirty = false;

  /** Throws OperatingError ENOMEM when the bitmap cannot be had. */
  constructor(pageCount: number) {
    this.pageCount = pageCount;
    this.#bits = allocateBitmap(pageCount);
  }

  mark(page: number): void {
    assert(page >= 0 && page < this.pageCount, `dirty log: page ${page} is not in 0..${this.pageCount - 1}`);
    this.#bits[page >>> 3]! |= 1 << (page & 7);
    this.#dirty = true;
  }

  isDirty(page: number): boolean {
    return (this.#bits[page >>> 3]! & (1 << (page & 7))) !== 0;
  }

  /** Hands out the bitmap and starts an empty one, in one step. */
  harvest(): Uint8Array {
    const bits = this.#bits;
    this.#bits = allocateBitmap(this.pageCount);
    this.#dirty = false;
    return bits;
  }

  /** Whether any page was marked since the last harvest. */
  get any(): boolean {
    return this.#dirty;
  }
}

/** Calls `visit` for each run [start, end) of set bits. */
export function forEachRun(bitmap: Uint8Array, visit: (start: number, end: number) => void): void {
  let start = -1;
  const pages = bitmap.length * 8;
  for (let page = 0; page < pages; page++) {
    const byte = bitmap[page >>> 3]!;
    if (start === -1 && byte === 0) {
      page |= 7;
      continue;
    }
    const set = (byte & (1 << (page & 7))) !== 0;
    if (set && start === -1) start = page;
    if (!set && start !== -1) {
      visit(start, page);
      start = -1;
    }
  }
  if (start !== -1) visit(start, pages);
}

/** Whole 64-bit words, as KVM rounds it. */
function allocateBitmap(pageCount: number): Uint8Array {
  const bytes = Math.ceil(pageCount / 64) * 8;
  try {
    return new Uint8Array(bytes);
  } catch (cause) {
    const message = `mmu-events: dirty log failed: no memory for a bitmap of ${bytes} bytes`;
    throw new OperatingError('ENOMEM', message, { bytes }, { cause });
  }
}
