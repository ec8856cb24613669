import type { Hpa, Pfn } from './addresses.ts';
import { assert } from './errors.ts';
import { FrameTable } from './frame-table.ts';
import type { HostMemory, Mapping } from './host-memory.ts';
import { type InPlaceMapping, InPlaceMappings } from './in-place-mappings.ts';
import { LinearMemory } from './linear-memory.ts';

/** The sizes of a managed memory. */
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
  #closed = false;

  constructor(o: ManagedMemoryOptions) {
    super(o);
    this.frames = new FrameTable({
      u8: this.u8,
      kernelFrames: this.kernelFrames,
      guestFrames: this.guestFrames,
      pinnable: true,
    });
    this.#mappings = new InPlaceMappings({ views: this, frames: this.frameCount });
  }

  get liveMappings(): number {
    return this.#mappings.live;
  }

  map(pfn: Pfn): Mapping {
    return this.#mappings.map(pfn);
  }

  unmap(mapping: Mapping): void {
    assert(!this.#closed, 'memory: unmap: the memory is closed');
    this.#mappings.unmap(mapping as InPlaceMapping);
  }

  read(hpa: Hpa, target: Uint8Array): void {
    assert(!this.#closed, 'memory: read: the memory is closed');
    this.assertOneZone('read', hpa, target.length);
    this.copyOut(hpa, target);
  }

  write(hpa: Hpa, source: Uint8Array): void {
    assert(!this.#closed, 'memory: write: the memory is closed');
    this.assertOneZone('write', hpa, source.length);
    this.copyIn(hpa, source);
  }

  reset(): void {
    this.frames.reset();
    this.#mappings.endAll();
  }

  close(): void {
    this.#closed = true;
    this.frames.close();
    this.#mappings.close();
  }
}
