import type { Hpa, Pfn } from './addresses.ts';
import { assert } from './errors.ts';
import { FrameTable } from './frame-table.ts';
import type { HostMemory, Mapping } from './host-memory.ts';
import { InPlaceMapping, InPlaceMappings } from './in-place-mappings.ts';
import { LinearMemory } from './linear-memory.ts';

export interface ManagedMemoryOptions {
  readonly guestFrames: number;
  /** L0's own frames, pfn 0 included; 1024 unless said otherwise. */
  readonly kernelFrames?: number;
  /** 4096 unless said otherwise. */
  readonly scratchBytes?: number;
  /** Shared between threads. Where the platform can, unless said otherwise; `true` insists. */
  readonly shared?: boolean;
}

/**
 * Memory that is always mapped, whose frames have a `struct page`: ordinary guest memory. Runs wherever WebAssembly
 * does. Throws OperatingError ENOMEM when the memory cannot be had, ENOSYS when `shared: true` is not possible here.
 */
export function createManagedMemory(o: ManagedMemoryOptions): HostMemory {
  return new ManagedMemory(o);
}

class ManagedMemory extends LinearMemory implements HostMemory {
  readonly kind = 'managed';
  readonly frames: FrameTable;
  readonly #mappings: InPlaceMappings;
  #open = true;

  constructor(o: ManagedMemoryOptions) {
    super(o);
    this.frames = new FrameTable({
      u8: this.u8,
      kernelFrames: this.kernelFrames,
      guestFrames: this.guestFrames,
      pinnable: true,
      startsZeroed: true,
    });
    this.#mappings = new InPlaceMappings({ views: this, frames: this.frameCount });
  }

  get liveMappings(): number {
    return this.#mappings.live;
  }

  map(pfn: Pfn): Mapping {
    assert(this.#open, 'memory: map: the memory is closed');
    assert(pfn >= 0 && pfn < this.frameCount, `memory: map: pfn ${pfn} is not in 0..${this.frameCount - 1}`);
    return this.#mappings.map(pfn);
  }

  unmap(mapping: Mapping): void {
    assert(this.#open, 'memory: unmap: the memory is closed');
    assert(mapping instanceof InPlaceMapping, 'memory: unmap: the mapping comes from another memory');
    this.#mappings.unmap(mapping);
  }

  read(hpa: Hpa, target: Uint8Array): void {
    assert(this.#open, 'memory: read: the memory is closed');
    this.assertOneZone({ operation: 'read', start: hpa, end: hpa + target.length });
    target.set(this.u8.subarray(hpa, hpa + target.length));
  }

  write(hpa: Hpa, source: Uint8Array): void {
    assert(this.#open, 'memory: write: the memory is closed');
    this.assertOneZone({ operation: 'write', start: hpa, end: hpa + source.length });
    this.u8.set(source, hpa);
  }

  close(): void {
    this.#open = false;
  }
}
