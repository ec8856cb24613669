import { closeSync } from 'node:fs';
import type { Hpa, Pfn } from './addresses.ts';
import { PAGE_SIZE } from './addresses.ts';
import { assert, fail, OperatingError } from './errors.ts';
import { FrameTable } from './frame-table.ts';
import type { HostMemory, Mapping } from './host-memory.ts';
import { type InPlaceMapping, InPlaceMappings } from './in-place-mappings.ts';
import { LinearMemory } from './linear-memory.ts';
import { type Backing, createMemfd, openBacking } from './linux-backing.ts';
import type { LinuxSystem } from './linux-system.ts';
import { WindowMapping, Windows } from './linux-windows.ts';

/** The sizes of an unmanaged memory, and the file behind it. */
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

/** Guest frames are the pages of a file; kernel frames are always mapped, as in managed memory. */
export class UnmanagedMemory extends LinearMemory implements HostMemory {
  readonly kind = 'unmanaged';
  readonly frames: FrameTable;
  readonly #system: LinuxSystem;
  readonly #backing: Backing;
  readonly #address: number;
  readonly #guestBase: number;
  readonly #kernelMappings: InPlaceMappings;
  readonly #windows: Windows;
  #closed = false;

  constructor(o: UnmanagedMemoryOptions, system: LinuxSystem) {
    super({ ...o, windows: o.windows ?? WINDOWS_DEFAULT, shared: true });
    const { kernelFrames, guestFrames } = this;
    const bytes = guestFrames * PAGE_SIZE;
    this.#system = system;
    this.#address = system.addressOf(this.u8);
    assert(this.#address % PAGE_SIZE === 0, 'memory: create: the linear memory is not page-aligned');
    this.#guestBase = kernelFrames * PAGE_SIZE;
    this.#backing = o.file === undefined ? createMemfd(system, { bytes }) : openBacking(o.file, { bytes });
    this.#mapGuestFrames(bytes);
    this.frames = new FrameTable({ u8: this.u8, kernelFrames, guestFrames, pinnable: false });
    this.#kernelMappings = new InPlaceMappings({ views: this, frames: kernelFrames });
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
    assert(!this.#closed, 'memory: map: the memory is closed');
    const valid = Number.isInteger(pfn) && pfn >= 0 && pfn < this.frameCount;
    if (!valid) fail(`memory: map: pfn ${pfn} is not in 0..${this.frameCount - 1}`);
    if (pfn < this.kernelFrames) return this.#kernelMappings.map(pfn);
    return this.#windows.map(pfn, pfn * PAGE_SIZE - this.#guestBase);
  }

  unmap(mapping: Mapping): void {
    assert(!this.#closed, 'memory: unmap: the memory is closed');
    if (mapping instanceof WindowMapping) this.#windows.unmap(mapping);
    else this.#kernelMappings.unmap(mapping as InPlaceMapping);
  }

  read(hpa: Hpa, target: Uint8Array): void {
    assert(!this.#closed, 'memory: read: the memory is closed');
    this.assertOneZone('read', hpa, target.length);
    if (hpa < this.#guestBase) this.copyOut(hpa, target);
    else this.#transfer('pread', hpa, target);
  }

  write(hpa: Hpa, source: Uint8Array): void {
    assert(!this.#closed, 'memory: write: the memory is closed');
    this.assertOneZone('write', hpa, source.length);
    if (hpa < this.#guestBase) this.copyIn(hpa, source);
    else this.#transfer('pwrite', hpa, source);
  }

  reset(): void {
    this.frames.reset();
    this.#kernelMappings.endAll();
    this.#windows.endAll();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.frames.close();
    this.#kernelMappings.close();
    try {
      this.#windows.close();
      const address = this.#address + this.#guestBase;
      this.#system.mmap({ address, bytes: this.guestFrames * PAGE_SIZE });
    } finally {
      closeSync(this.#backing.fd);
    }
  }

  /** The processor's physical view: the whole file over the guest frames. */
  #mapGuestFrames(bytes: number): void {
    const { fd, name } = this.#backing;
    const address = this.#address + this.#guestBase;
    if (this.#system.mmap({ address, bytes, file: { fd, offset: 0 } }) !== -1) return;
    const code = this.#system.errno();
    closeSync(fd);
    throw new OperatingError(code, `memory: create: mmap of ${bytes} bytes of ${name}: ${code}`, { bytes, file: name });
  }

  /** One call unless the kernel stops half way, as it may at a signal. */
  #transfer(operation: 'pread' | 'pwrite', hpa: Hpa, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) {
      const rest = done === 0 ? bytes : bytes.subarray(done);
      const count = this.#system[operation](this.#backing.fd, rest, hpa + done - this.#guestBase);
      if (count <= 0) this.#transferFailed(operation, hpa + done, count);
      done += count;
    }
  }

  #transferFailed(operation: string, hpa: number, count: number): never {
    const reason = count === 0 ? 'the file ends there' : this.#system.errno();
    const text = `memory: ${operation}: hpa 0x${hpa.toString(16)}: ${reason}`;
    throw new OperatingError('EIO', text, { hpa, reason });
  }
}
