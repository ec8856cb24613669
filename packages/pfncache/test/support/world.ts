import {
  createManagedMemory,
  type Gfn,
  type Gpa,
  gpaToGfn,
  type HostMemory,
  type Hva,
  OperatingError,
  PAGE_SIZE,
  type Pfn,
} from '@nvmx/guest-memory';
import { createUnmanagedMemory } from '@nvmx/guest-memory/linux';
import { HostAddressSpace, type HvaRange, type RangeEvent, VmMemory } from '@nvmx/mmu-events';
import { drive, type Op } from '@nvmx/sync';
import { expect } from 'vitest';
import { PfnCache, type PfnCacheOptions } from '../../src/index.ts';

export const slotGpa = 0x10_0000 as Gpa;
export const slotPages = 8;
export const readOnlyGpa = 0x20_0000 as Gpa;
export const loggedGpa = 0x30_0000 as Gpa;
/** A memslot with nothing mapped behind it. */
export const emptyGpa = 0x40_0000 as Gpa;
/** No memslot. */
export const nowhere = 0x50_0000 as Gpa;

/** A VM with a few memslots, and host pages that no memslot covers. */
export class World {
  readonly memory: HostMemory;
  readonly #ownsMemory: boolean;
  readonly host: HostAddressSpace;
  readonly vm: VmMemory;
  readonly slotHva: Hva;
  readonly readOnlyHva: Hva;
  readonly loggedHva: Hva;
  /** Eight writable host pages outside of every memslot. */
  readonly plainHva: Hva;

  constructor(o: { memory?: HostMemory } = {}) {
    this.#ownsMemory = o.memory === undefined;
    this.memory = o.memory ?? createManagedMemory({ guestFrames: 64, kernelFrames: 4 });
    this.host = new HostAddressSpace({ memory: this.memory });
    this.vm = new VmMemory({ host: this.host });
    this.slotHva = this.host.mmap({ pages: slotPages });
    this.readOnlyHva = this.host.mmap({ pages: 2 });
    this.loggedHva = this.host.mmap({ pages: 8 });
    this.plainHva = this.host.mmap({ pages: 8 });
    drive(this.setSlot());
    this.#addSlot({ slot: 1, gpa: readOnlyGpa, bytes: 2 * PAGE_SIZE, hva: this.readOnlyHva, readOnly: true });
    this.#addSlot({ slot: 2, gpa: loggedGpa, bytes: 8 * PAGE_SIZE, hva: this.loggedHva, logDirtyPages: true });
    this.#addSlot({ slot: 3, gpa: emptyGpa, bytes: PAGE_SIZE, hva: 0x1000_0000 });
  }

  /** Creates, moves (`gpa`) or deletes (`bytes` 0) the plain slot. */
  setSlot(o: { gpa?: number; bytes?: number; hva?: Hva } = {}): Op<void> {
    return this.vm.setMemoryRegion({ slot: 0, gpa: slotGpa, bytes: slotPages * PAGE_SIZE, hva: this.slotHva, ...o });
  }

  cache(o: Partial<PfnCacheOptions> = {}): PfnCache {
    return new PfnCache({ vm: this.vm, ...o });
  }

  /** A cache that is valid for the gpa. */
  active(gpa: Gpa = slotGpa, create: (o: PfnCacheOptions) => PfnCache = (o) => new PfnCache(o)): PfnCache {
    const cache = create({ vm: this.vm });
    expect(drive(cache.activate(gpa, 4))).toMatchObject({ ok: true });
    return cache;
  }

  pfnOf(gpa: Gpa): Pfn | undefined {
    return this.vm.currentPfn(gpaToGfn(gpa));
  }

  /** The host page behind page `index` of the plain slot. */
  range(index: number, pages = 1): HvaRange {
    const start = this.slotHva + index * PAGE_SIZE;
    return { start: start as Hva, end: (start + pages * PAGE_SIZE) as Hva };
  }

  /** The page numbers of the logged slot that were written since the last call. */
  harvest(): number[] {
    const bits = this.vm.harvestDirty(2);
    return [...Array(8).keys()].filter((page) => (bits[page >>> 3]! & (1 << (page & 7))) !== 0);
  }

  /** Deactivates the caches and expects that nothing is left: mappings, references, counts (I4, I5). */
  finish(...caches: readonly PfnCache[]): void {
    for (const cache of caches) drive(cache.deactivate());
    for (const cache of caches) expect(cache.statistics.unmaps).toBe(cache.statistics.maps);
    expect(this.memory.liveMappings).toBe(0);
    expect(this.vm.notifier.activeCount).toBe(0);
    drive(this.vm.destroy());
    drive(this.host.destroy());
    expect(this.memory.frames.liveCount('guest'), 'guest frames that nobody gave back').toBe(0);
    if (this.#ownsMemory) this.memory.close();
  }

  #addSlot(region: Parameters<VmMemory['setMemoryRegion']>[0]): void {
    drive(this.vm.setMemoryRegion(region));
  }
}

/** Unmanaged memory, or undefined where the platform has none. */
export function unmanagedMemory(o: { windows?: number } = {}): HostMemory | undefined {
  try {
    return createUnmanagedMemory({ guestFrames: 64, kernelFrames: 4, windows: 32, ...o });
  } catch (error) {
    if (error instanceof OperatingError && error.code === 'ENOSYS') return undefined;
    throw error;
  }
}

export function eventOf(range: HvaRange): RangeEvent {
  return { ...range, mayBlock: true, reason: 'test' };
}

export function at(base: number, offset: number): Gpa {
  return (base + offset) as Gpa;
}

export function gfnOf(gpa: Gpa): Gfn {
  return gpaToGfn(gpa);
}

export function hvaAt(base: Hva, offset: number): Hva {
  return (base + offset) as Hva;
}
