import type { Pfn } from './addresses.ts';
import { PAGE_SIZE } from './addresses.ts';
import { assert, fail, OperatingError } from './errors.ts';
import { FreeFrames, NO_FRAME } from './free-frames.ts';

/** `kernel` frames are L0's own, `guest` frames hold the pages of the VMM process. */
export type FrameZone = 'kernel' | 'guest';

/** What freed frames are filled with until they are handed out again. */
export const POISON = 0xcc;

/** Copied over frames: on shared memory that is many times faster than `fill()`, which stores byte by byte. */
const ZEROS = new Uint8Array(PAGE_SIZE);
const POISONED = new Uint8Array(PAGE_SIZE).fill(POISON);

/** The frames that a table hands out, and the bytes they have. */
export interface FrameTableOptions {
  /** The physical view: frame n is the bytes [n * 4096, (n + 1) * 4096). */
  readonly u8: Uint8Array;
  /** Frames 0 .. kernelFrames - 1; frame 0 is never handed out. */
  readonly kernelFrames: number;
  readonly guestFrames: number;
  /** Whether guest frames have a `struct page`, so that they can be pinned. */
  readonly pinnable: boolean;
}

/**
 * Who holds which frame: the page allocator, and the part of `struct page` that KVM leans on.
 *
 * A freed frame is filled with 0xcc and handed out again at once, under a birth id never used before, so that "same
 * number, other page" shows as an error and never passes by luck. Not shared between threads.
 */
export class FrameTable {
  readonly kernelFrames: number;
  readonly frameCount: number;
  readonly #u8: Uint8Array;
  readonly #pinnable: boolean;
  readonly #free: Readonly<Record<FrameZone, FreeFrames>>;
  #references: Int32Array;
  #pins: Int32Array;
  #births: Float64Array;
  #nextBirth = 1;
  #closed = false;

  constructor(o: FrameTableOptions) {
    assert(o.kernelFrames >= 1, 'frames: pfn 0 is reserved, so there is at least one kernel frame');
    this.kernelFrames = o.kernelFrames;
    this.frameCount = o.kernelFrames + o.guestFrames;
    this.#u8 = o.u8;
    this.#pinnable = o.pinnable;
    this.#free = {
      kernel: new FreeFrames({ start: 1, end: this.kernelFrames }),
      guest: new FreeFrames({ start: this.kernelFrames, end: this.frameCount }),
    };
    this.#references = new Int32Array(this.frameCount);
    this.#pins = new Int32Array(this.frameCount);
    this.#births = new Float64Array(this.frameCount);
  }

  /** A frame of zeros with one reference and a fresh birth id. Throws OperatingError ENOMEM when the zone is used up. */
  allocate(zone: FrameZone): Pfn {
    assert(!this.#closed, 'frames: allocate: the memory is closed');
    const pfn = this.#free[zone].pop();
    if (pfn === NO_FRAME) this.#exhausted(zone);
    this.#fill(pfn, ZEROS);
    this.#references[pfn] = 1;
    this.#births[pfn] = this.#nextBirth++;
    return pfn as Pfn;
  }

  /** Takes a reference on a live frame. */
  get(pfn: Pfn): void {
    if (!(this.#references[pfn]! > 0)) this.#notLive(pfn, 'get');
    this.#references[pfn]!++;
  }

  /** Drops a reference that is not a pin's; the last reference frees the frame. */
  put(pfn: Pfn): void {
    if (!(this.#references[pfn]! > 0)) this.#notLive(pfn, 'put');
    if (this.#references[pfn] === this.#pins[pfn]) fail(`frames: put: pfn ${pfn} has no reference left but its pins`);
    this.#drop(pfn);
  }

  /** References on the frame, pins included; 0 when it is free. */
  references(pfn: Pfn): number {
    return this.#references[pfn] ?? this.#outside(pfn, 'references');
  }

  /** 0 when the frame is free, else the id of this life of the frame: never used before, never used again. */
  birth(pfn: Pfn): number {
    return this.#births[pfn] ?? this.#outside(pfn, 'birth');
  }

  /**
   * Pins the frame as FOLL_PIN does, with a reference: it stays allocated until `unpin()`, and must not migrate.
   * False, and nothing taken, for a frame without `struct page` (unmanaged) and for L0's own frames.
   */
  pin(pfn: Pfn): boolean {
    if (!(this.#references[pfn]! > 0)) this.#notLive(pfn, 'pin');
    if (!this.#pinnable || pfn < this.kernelFrames) return false;
    this.#references[pfn]!++;
    this.#pins[pfn]!++;
    return true;
  }

  /** Undoes one `pin()` that returned true. */
  unpin(pfn: Pfn): void {
    if (!(this.#references[pfn]! > 0)) this.#notLive(pfn, 'unpin');
    if (this.#pins[pfn] === 0) fail(`frames: unpin: pfn ${pfn} is not pinned`);
    this.#pins[pfn]!--;
    this.#drop(pfn);
  }

  pinned(pfn: Pfn): boolean {
    return (this.#pins[pfn] ?? this.#outside(pfn, 'pinned')) > 0;
  }

  zone(pfn: Pfn): FrameZone {
    if (this.#births[pfn] === undefined) this.#outside(pfn, 'zone');
    return pfn < this.kernelFrames ? 'kernel' : 'guest';
  }

  /** Frames of the zone that can still be handed out. */
  freeCount(zone: FrameZone): number {
    return this.#free[zone].count;
  }

  /** Frames in use, of one zone or of both. */
  liveCount(zone?: FrameZone): number {
    if (zone === undefined) return this.liveCount('kernel') + this.liveCount('guest');
    return this.#free[zone].capacity - this.#free[zone].count;
  }

  /**
   * Frees every frame, pinned or not, and hands them out in the order of the start; birth ids go on. For explorers, which
   * run one program thousands of times: costs what was used, not what there is.
   */
  reset(): void {
    assert(!this.#closed, 'frames: reset: the memory is closed');
    for (const { start, free } of [
      { start: 1, free: this.#free.kernel },
      { start: this.kernelFrames, free: this.#free.guest },
    ]) {
      for (let pfn = start; pfn < free.usedEnd; pfn++) if (this.#births[pfn] !== 0) this.#fill(pfn, POISONED);
      this.#references.fill(0, start, free.usedEnd);
      this.#pins.fill(0, start, free.usedEnd);
      this.#births.fill(0, start, free.usedEnd);
      free.reset();
    }
  }

  /** Ends the table: every later use asserts. Called by `HostMemory.close()`. */
  close(): void {
    this.#closed = true;
    this.#references = new Int32Array(0);
    this.#pins = new Int32Array(0);
    this.#births = new Float64Array(0);
  }

  #drop(pfn: Pfn): void {
    if (--this.#references[pfn]! > 0) return;
    this.#births[pfn] = 0;
    this.#fill(pfn, POISONED);
    this.#free[this.zone(pfn)].push(pfn);
  }

  #fill(pfn: number, page: Uint8Array): void {
    this.#u8.set(page, pfn * PAGE_SIZE);
  }

  #exhausted(zone: FrameZone): never {
    const frames = this.#free[zone].capacity;
    const text = `frames: allocate: all ${frames} ${zone} frames are in use`;
    throw new OperatingError('ENOMEM', text, { zone, frames });
  }

  #notLive(pfn: Pfn, operation: string): never {
    if (this.#births[pfn] === undefined) this.#outside(pfn, operation);
    return fail(`frames: ${operation}: pfn ${pfn} is free`);
  }

  #outside(pfn: Pfn, operation: string): never {
    if (this.#closed) fail(`frames: ${operation}: the memory is closed`);
    return fail(`frames: ${operation}: pfn ${pfn} is not in 0..${this.frameCount - 1}`);
  }
}
