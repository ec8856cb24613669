import {
  createManagedMemory,
  type Gpa,
  gpaToGfn,
  type HostMemory,
  type Hva,
  OperatingError,
  PAGE_SIZE,
  type Pfn,
} from '@nvmx/guest-memory';
import { createUnmanagedMemory } from '@nvmx/guest-memory/linux';
import { drive, type Op } from '@nvmx/sync';
import { expect } from 'vitest';
import { HostAddressSpace } from '../host-address-space.ts';
import type { HeldPage, HoldOutcome, PageBackend, PageRequest } from '../page-backend.ts';
import type { HvaRange } from '../range.ts';
import { VmMemory } from '../vm-memory.ts';
import type { BackendPromises, HoldFailure } from './promises.ts';

/** Makes the backend under test for a VM. */
export type CreateBackend = (vm: VmMemory) => PageBackend;

/** Where the memslots of the fixture lie in the guest. */
export const plainSlot = { slot: 0, gpa: 0x10_0000, pages: 8 } as const;
export const readOnlySlot = { slot: 1, gpa: 0x20_0000, pages: 2 } as const;
export const loggedSlot = { slot: 2, gpa: 0x30_0000, pages: 8 } as const;
/** Its host address has no mapping. */
export const emptySlot = { slot: 3, gpa: 0x40_0000, pages: 1 } as const;
/** No memslot here. */
export const nowhere = 0x50_0000 as Gpa;

export const pageA = plainSlot.gpa as Gpa;
export const pageB = (plainSlot.gpa + PAGE_SIZE) as Gpa;
export const loggedPage = (loggedSlot.gpa + 3 * PAGE_SIZE) as Gpa;

const GUEST_FRAMES = 64;

/** One VM with its memory and the backend under test. */
export class Fixture {
  readonly memory: HostMemory;
  readonly host: HostAddressSpace;
  readonly vm: VmMemory;
  readonly backend: PageBackend;
  readonly promises: BackendPromises;
  readonly #hvaOfSlot = new Map<number, Hva>();

  constructor(o: { memory: HostMemory; create: CreateBackend; promises: BackendPromises }) {
    this.memory = o.memory;
    this.promises = o.promises;
    this.host = new HostAddressSpace({ memory: o.memory });
    this.vm = new VmMemory({ host: this.host });
    this.#addSlot(plainSlot, {});
    this.#addSlot(readOnlySlot, { readOnly: true });
    this.#addSlot(loggedSlot, { logDirtyPages: true });
    this.#addSlot(emptySlot, {});
    drive(this.host.munmap(this.rangeOf(emptySlot.gpa as Gpa)));
    this.backend = o.create(this.vm);
  }

  open(request: Partial<PageRequest> = {}): HeldPage {
    return this.backend.openPage({
      role: 'virtual-apic',
      vcpu: 0,
      access: 'write',
      usedByHardware: true,
      ...request,
    });
  }

  /** A page that holds `gpa` already. */
  held(gpa: Gpa = pageA, request: Partial<PageRequest> = {}): HeldPage {
    const page = this.open(request);
    this.hold(page, gpa);
    return page;
  }

  /** Holds, and expects that it works. */
  hold(page: HeldPage, gpa: Gpa = pageA): void {
    expect(drive(page.hold(gpa)), `hold 0x${gpa.toString(16)}`).toEqual({ ok: true });
    expect(page.gpa).toBe(gpa);
  }

  /** Holds, and expects that it fails in the promised way, with nothing held after it. */
  holdFails(page: HeldPage, gpa: Gpa, failure: HoldFailure | 'throws ENOMEM'): void {
    const before = page.gpa === undefined ? undefined : page.stamp();
    expect(outcomeOf(page.hold(gpa))).toEqual(failure === 'throws ENOMEM' ? failure : { ok: false, code: failure });
    this.expectNothingHeld(page);
    if (before !== undefined) expect(page.isCurrent(before), 'the stamp from before the failure').toBe(false);
  }

  expectNothingHeld(page: HeldPage): void {
    expect(page.gpa).toBeUndefined();
    expect(page.beginUse(), 'beginUse() with nothing held').toBe(false);
    expect(() => page.pfn).toThrow();
  }

  /** Expects a hold that hardware and L0 may use: the frame of the guest page, right now. */
  expectCurrent(page: HeldPage, gpa: Gpa = pageA): void {
    expect(page.pfn).toBe(this.pfnOf(gpa));
    expect(page.isCurrent(page.stamp())).toBe(true);
    expect(page.beginUse()).toBe(true);
    page.endUse();
  }

  /** One use that stores a 32-bit value. */
  store(page: HeldPage, offset: number, value: number): void {
    expect(page.beginUse(), 'beginUse() before a store').toBe(true);
    page.view.setU32(offset, value);
    page.endUse({ wrote: true });
  }

  /** One use that loads a 32-bit value. */
  load(page: HeldPage, offset: number): number {
    expect(page.beginUse(), 'beginUse() before a load').toBe(true);
    const value = page.view.u32(offset);
    page.endUse();
    return value;
  }

  /** The guest's own view of a 32-bit value, by the memslots and the page tables of this moment. */
  guestU32(gpa: Gpa): number {
    const bytes = new Uint8Array(4);
    drive(this.vm.readGuest(gpa, bytes));
    return new DataView(bytes.buffer).getUint32(0, true);
  }

  setGuestU32(gpa: Gpa, value: number): void {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value, true);
    drive(this.vm.writeGuest(gpa, bytes));
  }

  pfnOf(gpa: Gpa): Pfn | undefined {
    return this.vm.currentPfn(gpaToGfn(gpa));
  }

  /** The host address behind a guest address of the fixture's slots, as they were at the beginning. */
  hvaOf(gpa: Gpa): Hva {
    const slot = [plainSlot, readOnlySlot, loggedSlot, emptySlot].find((one) => isInSlot(one, gpa))!;
    return (this.#hvaOfSlot.get(slot.slot)! + gpa - slot.gpa) as Hva;
  }

  /** The one-page host range behind a guest address. */
  rangeOf(gpa: Gpa): HvaRange {
    const address = this.hvaOf(gpa);
    const start = (address - (address % PAGE_SIZE)) as Hva;
    return { start, end: (start + PAGE_SIZE) as Hva };
  }

  /** Moves or deletes the plain slot: the region that makes it so. */
  plainRegion(o: { gpa?: number; bytes?: number; hva?: Hva; logDirtyPages?: boolean } = {}): Op<void> {
    return this.vm.setMemoryRegion({
      slot: plainSlot.slot,
      gpa: plainSlot.gpa,
      bytes: plainSlot.pages * PAGE_SIZE,
      hva: this.#hvaOfSlot.get(plainSlot.slot)!,
      ...o,
    });
  }

  /** The pages of the logged slot that were written since the last harvest. */
  harvest(slot: number = loggedSlot.slot): number[] {
    const bitmap = this.vm.harvestDirty(slot);
    return [...bitmap].flatMap((byte, i) =>
      [0, 1, 2, 3, 4, 5, 6, 7].filter((bit) => byte & (1 << bit)).map((bit) => i * 8 + bit),
    );
  }

  /** Takes guest frames until none is left; the returned function gives them back. */
  exhaustFrames(): () => void {
    const taken: Pfn[] = [];
    while (this.memory.frames.freeCount('guest') > 0) taken.push(this.memory.frames.allocate('guest'));
    return () => {
      for (const pfn of taken) this.memory.frames.put(pfn);
    };
  }

  /** I4 at the end of every case: maps and unmaps balance, no frame is lost, the notifier is at rest. */
  finish(): void {
    drive(this.backend.close());
    const { statistics } = this.backend;
    expect(statistics.unmaps, 'unmaps after close()').toBe(statistics.maps);
    expect(this.memory.liveMappings, 'live mappings after close()').toBe(0);
    const { activeCount, inProgress } = this.vm.notifier;
    expect({ activeCount, inProgress }).toEqual({ activeCount: 0, inProgress: 0 });
    drive(this.vm.destroy());
    drive(this.host.destroy());
    expect(this.memory.frames.liveCount('guest'), 'guest frames in use at the end').toBe(0);
  }

  #addSlot(o: typeof plainSlot | typeof readOnlySlot | typeof loggedSlot | typeof emptySlot, flags: object): void {
    const address = this.host.mmap({ pages: o.pages });
    this.#hvaOfSlot.set(o.slot, address);
    const region = { slot: o.slot, gpa: o.gpa, bytes: o.pages * PAGE_SIZE, hva: address, ...flags };
    drive(this.vm.setMemoryRegion(region));
  }
}

/** What a hold comes to, with a thrown ENOMEM as a value. */
function outcomeOf(op: Op<HoldOutcome>): HoldOutcome | 'throws ENOMEM' {
  try {
    return drive(op);
  } catch (error) {
    if (error instanceof OperatingError && error.code === 'ENOMEM') return 'throws ENOMEM';
    throw error;
  }
}

function isInSlot(slot: { gpa: number; pages: number }, gpa: Gpa): boolean {
  return gpa >= slot.gpa && gpa < slot.gpa + slot.pages * PAGE_SIZE;
}

/** The memory kinds of the suite. `windows` bounds what unmanaged memory can map at a time. */
export const memoryKinds: readonly { kind: HostMemory['kind']; create(o?: { windows: number }): HostMemory }[] = [
  { kind: 'managed', create: () => createManagedMemory({ guestFrames: GUEST_FRAMES, kernelFrames: 8 }) },
  {
    kind: 'unmanaged',
    create: (o = { windows: 128 }) => createUnmanagedMemory({ guestFrames: GUEST_FRAMES, kernelFrames: 8, ...o }),
  },
];

/** Whether this platform can make unmanaged memory: ENOSYS says no, everything else is a real failure. */
export function canMapForReal(): boolean {
  try {
    createUnmanagedMemory({ guestFrames: 1 }).close();
    return true;
  } catch (error) {
    if (error instanceof OperatingError && error.code === 'ENOSYS') return false;
    throw error;
  }
}

/** Resumes the operation until `reached()`, and says whether that came before its end. */
export function runUntil<T>(op: Op<T>, reached: () => boolean): boolean {
  while (!reached()) {
    if (op.next().done === true) return false;
  }
  return true;
}

/** Resumes the operation until it would have to wait: true; or until its end: false. */
export function runUntilBlocked<T>(op: Op<T>): boolean {
  for (;;) {
    const { done, value } = op.next();
    if (done === true) return false;
    if (value.ready !== undefined && !value.ready()) return true;
  }
}
