import type { Pfn } from './addresses.ts';
import { PAGE_SIZE } from './addresses.ts';
import { assert, OperatingError } from './errors.ts';

export type FrameZone = 'kernel' | 'guest';

/** What freed frames hold until they are handed out again. */
export const POISON = 0xcc;

export interface FrameTableOptions {
  /** The physical view: frame n is the bytes [n * 4096, (n + 1) * 4096). */
  readonly u8: Uint8Array;
  /** Frames 0 .. kernelFrames - 1; frame 0 is never handed out. */
  readonly kernelFrames: number;
  readonly guestFrames: number;
  /** Whether guest frames have a `struct page`, so that they can be pinned. */
  readonly pinnable: boolean;
  /** Whether unused frames are known to hold zeros, so that the first use need not clear them. */
  readonly startsZeroed: boolean;
}

/**
 * Who holds which frame: the page allocator and the part of `struct page` that KVM leans on.
 *
 * A freed frame is filled with 0xcc and handed out again at once, under a birth id never used before, so that "same
 * number, other page" shows as an error and never passes by luck.
 */
export class FrameTable {
  readonly kernelFrames: number;
  readonly frameCount: number;
  readonly #u8: Uint8Array;
  readonly #pinnable: boolean;
  readonly #startsZeroed: boolean;
  readonly #references: Int32Array;
  readonly #pins: Int32Array;
  readonly #births: Float64Array;
  readonly #free: Readonly<Record<FrameZone, FreeStack>>;
  #nextBirth = 1;

  constructor(o: FrameTableOptions) {
    this.kernelFrames = o.kernelFrames;
    this.frameCount = o.kernelFrames + o.guestFrames;
    this.#u8 = o.u8;
    this.#pinnable = o.pinnable;
    this.#startsZeroed = o.startsZeroed;
    this.#references = new Int32Array(this.frameCount);
    this.#pins = new Int32Array(this.frameCount);
    this.#births = new Float64Array(this.frameCount);
    this.#free = {
      kernel: new FreeStack({ start: 1, end: this.kernelFrames }),
      guest: new FreeStack({ start: this.kernelFrames, end: this.frameCount }),
    };
  }

  /** A frame of zeros with one reference and a fresh birth id. Throws OperatingError ENOMEM when the zone is used up. */
  allocate(zone: FrameZone): Pfn {
    const frame = this.#free[zone].pop();
    if (frame === undefined) {
      const details = { zone, frames: this.#free[zone].capacity };
      throw new OperatingError('ENOMEM', `frames: allocate: all ${details.frames} ${zone} frames are in use`, details);
    }
    if (!frame.fresh || !this.#startsZeroed) this.#fill(frame.pfn, 0);
    this.#references[frame.pfn] = 1;
    this.#births[frame.pfn] = this.#nextBirth++;
    return frame.pfn as Pfn;
  }

  /** Takes a reference on a live frame. */
  get(pfn: Pfn): void {
    this.#assertLive(pfn, 'get');
    this.#references[pfn]!++;
  }

  /** Drops a reference; the last one frees the frame. */
  put(pfn: Pfn): void {
    this.#assertLive(pfn, 'put');
    assert(this.#references[pfn]! > this.#pins[pfn]!, `frames: put: only pins are left on pfn ${pfn}`);
    this.#drop(pfn);
  }

  /** References on the frame, pins included; 0 when it is free. */
  references(pfn: Pfn): number {
    this.#assertInRange(pfn, 'references');
    return this.#references[pfn]!;
  }

  /** 0 when the frame is free, else the id of this life of the frame: never used before, never used again. */
  birth(pfn: Pfn): number {
    this.#assertInRange(pfn, 'birth');
    return this.#births[pfn]!;
  }

  /**
   * Pins the frame as FOLL_PIN does, with a reference: it stays allocated until `unpin()` and must not migrate.
   * False, and nothing taken, for a frame without `struct page` (unmanaged) and for L0's own frames.
   */
  pin(pfn: Pfn): boolean {
    this.#assertLive(pfn, 'pin');
    if (!this.#pinnable || pfn < this.kernelFrames) return false;
    this.#references[pfn]!++;
    this.#pins[pfn]!++;
    return true;
  }

  /** Undoes one `pin()` that returned true. */
  unpin(pfn: Pfn): void {
    this.#assertLive(pfn, 'unpin');
    assert(this.#pins[pfn]! > 0, `frames: unpin: pfn ${pfn} is not pinned`);
    this.#pins[pfn]!--;
    this.#drop(pfn);
  }

  pinned(pfn: Pfn): boolean {
    this.#assertInRange(pfn, 'pinned');
    return this.#pins[pfn]! > 0;
  }

  zone(pfn: Pfn): FrameZone {
    this.#assertInRange(pfn, 'zone');
    return pfn < this.kernelFrames ? 'kernel' : 'guest';
  }

  /** Frames of the zone that can still be handed out. */
  freeCount(zone: FrameZone): number {
    return this.#free[zone].count;
  }

  /** Frames in use, of one zone or of both. */
  liveCount(zone?: FrameZone): number {
    if (zone !== undefined) return this.#free[zone].capacity - this.#free[zone].count;
    return this.liveCount('kernel') + this.liveCount('guest');
  }

  #drop(pfn: Pfn): void {
    if (--this.#references[pfn]! > 0) return;
    this.#births[pfn] = 0;
    this.#fill(pfn, POISON);
    this.#free[this.zone(pfn)].push(pfn);
  }

  #fill(pfn: number, byte: number): void {
    this.#u8.fill(byte, pfn * PAGE_SIZE, (pfn + 1) * PAGE_SIZE);
  }

  #assertInRange(pfn: Pfn, operation: string): void {
    assert(pfn >= 0 && pfn < this.frameCount, `frames: ${operation}: pfn ${pfn} is not in 0..${this.frameCount - 1}`);
  }

  #assertLive(pfn: Pfn, operation: string): void {
    this.#assertInRange(pfn, operation);
    assert(this.#references[pfn]! > 0, `frames: ${operation}: pfn ${pfn} is free`);
  }
}

/** The free frames of [start, end): last in, first out; frames that were never used come after all others, in order. */
class FreeStack {
  readonly capacity: number;
  readonly #end: number;
  readonly #stack: Uint32Array;
  #depth = 0;
  #nextFresh: number;

  constructor(o: { start: number; end: number }) {
    this.capacity = Math.max(0, o.end - o.start);
    this.#end = o.end;
    this.#nextFresh = o.start;
    this.#stack = new Uint32Array(this.capacity);
  }

  get count(): number {
    return this.#depth + Math.max(0, this.#end - this.#nextFresh);
  }

  pop(): { pfn: number; fresh: boolean } | undefined {
    if (this.#depth > 0) return { pfn: this.#stack[--this.#depth]!, fresh: false };
    if (this.#nextFresh < this.#end) return { pfn: this.#nextFresh++, fresh: true };
    return undefined;
  }

  push(pfn: number): void {
    this.#stack[this.#depth++] = pfn;
  }
}
