import { PAGE_SIZE } from './addresses.ts';
import { assert, fail, OperatingError } from './errors.ts';

const WASM_PAGE = 65_536;
/** What a 32-bit WebAssembly memory can address. */
const BYTES_MAX = 2 ** 32;

/** Up to here a loop beats `set()`, which first makes a subarray. */
const LOOP_BYTES_MAX = 32;

const KERNEL_FRAMES_DEFAULT = 1024;
const SCRATCH_BYTES_DEFAULT = 4096;

export interface LinearMemoryOptions {
  readonly kernelFrames?: number | undefined;
  readonly guestFrames: number;
  readonly windows?: number | undefined;
  readonly scratchBytes?: number | undefined;
  /** `undefined`: shared where the platform has SharedArrayBuffer, else unshared. */
  readonly shared?: boolean | undefined;
}

/**
 * One page-aligned memory, cut into kernel frames, guest frames, windows and scratch, in this order.
 * A WebAssembly.Memory is page-aligned and never moves; a plain ArrayBuffer promises neither.
 */
export class LinearMemory {
  readonly linear: WebAssembly.Memory;
  readonly buffer: ArrayBuffer | SharedArrayBuffer;
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;
  readonly i32: Int32Array;
  readonly u64: BigUint64Array;
  readonly kernelFrames: number;
  readonly guestFrames: number;
  readonly frameCount: number;
  readonly windows: { readonly base: number; readonly count: number };
  readonly scratch: { readonly base: number; readonly bytes: number };

  constructor(o: LinearMemoryOptions) {
    this.kernelFrames = count(o.kernelFrames ?? KERNEL_FRAMES_DEFAULT, { name: 'kernelFrames', least: 1 });
    this.guestFrames = count(o.guestFrames, { name: 'guestFrames', least: 1 });
    this.frameCount = this.kernelFrames + this.guestFrames;
    this.windows = {
      base: this.frameCount * PAGE_SIZE,
      count: count(o.windows ?? 0, { name: 'windows', least: 0 }),
    };
    this.scratch = {
      base: this.windows.base + this.windows.count * PAGE_SIZE,
      bytes: count(o.scratchBytes ?? SCRATCH_BYTES_DEFAULT, { name: 'scratchBytes', least: 0 }),
    };
    this.linear = reserve({ bytes: this.scratch.base + this.scratch.bytes, shared: o.shared });
    this.buffer = this.linear.buffer;
    this.u8 = new Uint8Array(this.buffer);
    this.u16 = new Uint16Array(this.buffer);
    this.u32 = new Uint32Array(this.buffer);
    this.i32 = new Int32Array(this.buffer);
    this.u64 = new BigUint64Array(this.buffer);
  }

  /** Asserts that `bytes` bytes from `start` lie in the frames, and all in one zone. */
  assertOneZone(operation: string, start: number, bytes: number): void {
    const boundary = this.kernelFrames * PAGE_SIZE;
    const end = start + bytes;
    if (start >= boundary ? end <= this.windows.base : start >= 0 && end <= boundary) {
      if (Number.isInteger(start)) return;
    }
    const inside = Number.isInteger(start) && start >= 0 && end <= this.windows.base;
    const wrong = inside
      ? `crosses from kernel into guest frames at ${hex(boundary)}`
      : `leaves the frames, which end at ${hex(this.windows.base)}`;
    fail(`memory: ${operation}: [${hex(start)}, ${hex(end)}) ${wrong}`);
  }

  /** Copies bytes that are always mapped. */
  copyOut(start: number, target: Uint8Array): void {
    const bytes = target.length;
    if (bytes > LOOP_BYTES_MAX) target.set(this.u8.subarray(start, start + bytes));
    else for (let i = 0; i < bytes; i++) target[i] = this.u8[start + i]!;
  }

  /** Copies into bytes that are always mapped. */
  copyIn(start: number, source: Uint8Array): void {
    const bytes = source.length;
    if (bytes > LOOP_BYTES_MAX) this.u8.set(source, start);
    else for (let i = 0; i < bytes; i++) this.u8[start + i] = source[i]!;
  }
}

function reserve(o: { bytes: number; shared: boolean | undefined }): WebAssembly.Memory {
  const pages = Math.ceil(o.bytes / WASM_PAGE);
  if (pages * WASM_PAGE > BYTES_MAX) {
    const details = { bytes: o.bytes, bytesMax: BYTES_MAX };
    throw new OperatingError(
      'ENOMEM',
      `memory: create: ${o.bytes} bytes exceed the ${BYTES_MAX} of one memory`,
      details,
    );
  }
  const canShare = typeof SharedArrayBuffer !== 'undefined';
  if (o.shared === true && !canShare) {
    throw new OperatingError('ENOSYS', 'memory: create: shared memory is not available here (no SharedArrayBuffer)');
  }
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: o.shared ?? canShare });
  } catch (cause) {
    const details = { bytes: pages * WASM_PAGE };
    throw new OperatingError('ENOMEM', `memory: create: no ${details.bytes} bytes of memory`, details, { cause });
  }
}

function count(value: number, o: { name: string; least: number }): number {
  assert(
    Number.isSafeInteger(value) && value >= o.least,
    `memory: ${o.name} ${value} is not a count of at least ${o.least}`,
  );
  return value;
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
