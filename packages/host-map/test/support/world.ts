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
import { HostAddressSpace, type HvaRange, VmMemory } from '@nvmx/mmu-events';
import { drive, type Op } from '@nvmx/sync';
import { expect } from 'vitest';
import { HostMap, type HostMapOptions } from '../../src/index.ts';

export const slotGpa = 0x10_0000 as Gpa;
export const slotPages = 8;
export const readOnlyGpa = 0x20_0000 as Gpa;
export const loggedGpa = 0x30_0000 as Gpa;
/** A memslot with nothing mapped behind it. */
export const emptyGpa = 0x40_0000 as Gpa;
/** No memslot. */
export const nowhere = 0x50_0000 as Gpa;

/** A VM with a few memslots. */
export class World {
  readonly memory: HostMemory;
  readonly host: HostAddressSpace;
  readonly vm: VmMemory;
  readonly slotHva: Hva;

  constructor(memory: HostMemory = createManagedMemory({ guestFrames: 64, kernelFrames: 4 })) {
    this.memory = memory;
    this.host = new HostAddressSpace({ memory });
    this.vm = new VmMemory({ host: this.host });
    this.slotHva = this.host.mmap({ pages: slotPages });
    drive(this.setSlot());
    const flags = [
      { slot: 1, gpa: readOnlyGpa, hva: this.host.mmap({ pages: 8 }), readOnly: true },
      { slot: 2, gpa: loggedGpa, hva: this.host.mmap({ pages: 8 }), logDirtyPages: true },
      { slot: 3, gpa: emptyGpa, hva: 0x1000_0000 },
    ];
    for (const region of flags) drive(this.vm.setMemoryRegion({ bytes: 8 * PAGE_SIZE, ...region }));
  }

  /** Creates, moves (`gpa`) or deletes (`bytes` 0) the plain slot. */
  setSlot(o: { gpa?: number; bytes?: number } = {}): Op<void> {
    return this.vm.setMemoryRegion({ slot: 0, gpa: slotGpa, bytes: slotPages * PAGE_SIZE, hva: this.slotHva, ...o });
  }

  map(o: Partial<HostMapOptions> = {}): HostMap {
    return new HostMap({ vm: this.vm, ...o });
  }

  /** A map of the page of the gpa. */
  mapped(gpa: Gpa = slotGpa): HostMap {
    const map = this.map();
    expect(drive(map.map(gpaToGfn(gpa)))).toMatchObject({ ok: true });
    return map;
  }

  pfnOf(gpa: Gpa): Pfn | undefined {
    return this.vm.currentPfn(gpaToGfn(gpa));
  }

  /** The host page behind page `index` of the plain slot. */
  range(index: number): HvaRange {
    const start = this.slotHva + index * PAGE_SIZE;
    return { start: start as Hva, end: (start + PAGE_SIZE) as Hva };
  }

  /** The page numbers of the logged slot that were written since the last call. */
  harvest(): number[] {
    const bits = this.vm.harvestDirty(2);
    return [...Array(8).keys()].filter((page) => (bits[page >>> 3]! & (1 << (page & 7))) !== 0);
  }

  /** Expects that nothing is left: mappings, pins, frames (I4). */
  finish(): void {
    expect(this.memory.liveMappings).toBe(0);
    drive(this.vm.destroy());
    drive(this.host.destroy());
    expect(this.memory.frames.liveCount('guest'), 'guest frames that nobody gave back').toBe(0);
    this.memory.close();
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

export function gfnOf(gpa: Gpa): Gfn {
  return gpaToGfn(gpa);
}

export function at(base: number, offset: number): Gpa {
  return (base + offset) as Gpa;
}
