import { closeSync } from 'node:fs';
import type { Hpa, Pfn } from './addresses.ts';
import { PAGE_SIZE } from './addresses.ts';
import { assert, OperatingError } from './errors.ts';
import { FrameTable } from './frame-table.ts';
import type { HostMemory, Mapping } from './host-memory.ts';
import { InPlaceMapping, InPlaceMappings } from './in-place-mappings.ts';
import { LinearMemory } from './linear-memory.ts';
import { type Backing, createMemfd, openBacking } from './linux-backing.ts';
import type { LinuxSystem } from './linux-system.ts';
import { WindowMapping, Windows } from './linux-windows.ts';

export interface UnmanagedMemoryOptions {
  readonly guestFrames: number;
  /** L0's own frames, pfn 0 included; 1024 unless said otherwise. */
  readonly kernelFrames?: number;
  /** How many guest frames L0 can have mapped at a time; 4096 unless said otherwise. */
  readonly windows?: number;
  /** 4096 unless said otherwise. */
  readonly scratchBytes?: number;
  /** An existing regular file of at least guestFrames * 4096 bytes. Without it: a sealed memfd. */
  readonly file?: string;
}

const WINDOWS_DEFAULT = 4096;

export class UnmanagedMemory extends LinearMemory implements HostMemory {
  readonly kind = 'unmanaged';
  readonly frames: FrameTable;
  readonly #system: LinuxSystem;
  readonly #backing: Backing;
  readonly #address: number;
  readonly #kernelMappings: InPlaceMappings;
  readonly #windows: Windows;
  #open = true;

  constructor(o: UnmanagedMemoryOptions, system: LinuxSystem) {
    super({ ...o, windows: o.windows ?? WINDOWS_DEFAULT, shared: true });
    this.#system = system;
    this.#address = system.addressOf(this.u8);
    assert(
      this.#address % PAGE_SIZE === 0,
      `memory: create: the linear memory at ${this.#address} is not page-aligned`,
    );
    const bytes = this.guestFrames * PAGE_SIZE;
    this.#backing = o.file === undefined ? createMemfd(system, { bytes }) : openBacking(o.file, { bytes });
    this.#mapGuestFrames();
    this.frames = new FrameTable({
      u8: this.u8,
      kernelFrames: this.kernelFrames,
      guestFrames: this.guestFrames,
      pinnable: false,
      startsZeroed: this.#backing.zeroed,
    });
    this.#kernelMappings = new InPlaceMappings({ views: this, frames: this.kernelFrames });
    this.#windows = new Windows({
      system,
      views: this,
      address: this.#address,
      base: this.windows.base,
      count: this.windows.count,
      fd: this.#backing.fd,
    });
  }

  get liveMappings(): number {
    return this.#windows.live + this.#kernelMappings.live;
  }

  map(pfn: Pfn): Mapping {
    assert(this.#open, 'memory: map: the memory is closed');
    assert(pfn >= 0 && pfn < this.frameCount, `memory: map: pfn ${pfn} is not in 0..${this.frameCount - 1}`);
    if (pfn < this.kernelFrames) return this.#kernelMappings.map(pfn);
    return this.#windows.map(pfn, this.#fileOffset(pfn * PAGE_SIZE));
  }

  unmap(mapping: Mapping): void {
    assert(this.#open, 'memory: unmap: the memory is closed');
    if (mapping instanceof WindowMapping) this.#windows.unmap(mapping);
    else if (mapping instanceof InPlaceMapping) this.#kernelMappings.unmap(mapping);
    else assert(false, 'memory: unmap: the mapping comes from another memory');
  }

  read(hpa: Hpa, target: Uint8Array): void {
    assert(this.#open, 'memory: read: the memory is closed');
    this.assertOneZone({ operation: 'read', start: hpa, end: hpa + target.length });
    if (hpa < this.kernelFrames * PAGE_SIZE) target.set(this.u8.subarray(hpa, hpa + target.length));
    else this.#transfer(this.#system.pread, { operation: 'pread', hpa, bytes: target });
  }

  write(hpa: Hpa, source: Uint8Array): void {
    assert(this.#open, 'memory: write: the memory is closed');
    this.assertOneZone({ operation: 'write', start: hpa, end: hpa + source.length });
    if (hpa < this.kernelFrames * PAGE_SIZE) this.u8.set(source, hpa);
    else this.#transfer(this.#system.pwrite, { operation: 'pwrite', hpa, bytes: source });
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#windows.close();
    // One mapping over guest frames and windows, which are neighbors: the process keeps nothing of the file.
    const start = this.kernelFrames * PAGE_SIZE;
    this.#system.mmap({ address: this.#address + start, bytes: this.scratch.base - start });
    closeSync(this.#backing.fd);
  }

  /** The processor's physical view: the whole file over the guest frames. */
  #mapGuestFrames(): void {
    const address = this.#address + this.kernelFrames * PAGE_SIZE;
    const bytes = this.guestFrames * PAGE_SIZE;
    if (this.#system.mmap({ address, bytes, file: { fd: this.#backing.fd, offset: 0 } }) !== -1) return;
    const code = this.#system.errno();
    closeSync(this.#backing.fd);
    throw new OperatingError(code, `memory: create: mmap of ${this.#backing.name} failed with ${code}`, { bytes });
  }

  #transfer(
    call: (fd: number, bytes: Uint8Array, offset: number) => number,
    o: { operation: string; hpa: Hpa; bytes: Uint8Array },
  ): void {
    let done = 0;
    while (done < o.bytes.length) {
      const rest = done === 0 ? o.bytes : o.bytes.subarray(done);
      const count = call(this.#backing.fd, rest, this.#fileOffset(o.hpa + done));
      if (count <= 0) this.#transferFailed(o.operation, o.hpa + done, count);
      done += count;
    }
  }

  #transferFailed(operation: string, hpa: number, count: number): never {
    const reason = count === 0 ? 'the file ends there' : this.#system.errno();
    const text = `memory: ${operation}: hpa 0x${hpa.toString(16)}: ${reason}`;
    throw new OperatingError('EIO', text, { hpa, reason });
  }

  #fileOffset(hpa: number): number {
    return hpa - this.kernelFrames * PAGE_SIZE;
  }
}
