import {
  createManagedMemory,
  type Gfn,
  type Gpa,
  type HostMemory,
  type Hva,
  OperatingError,
  PAGE_SIZE,
  type Pfn,
} from '@nvmx/guest-memory';
import { drive, type Op, type SyncPoint } from '@nvmx/sync';
import { HostAddressSpace, type HvaRange, type MemoryRegion, type SecondaryMmu, VmMemory } from '../../src/index.ts';

/** A VM over a small memory, with slot 0 of eight pages at guest frame 0x10. */
export interface World {
  readonly memory: HostMemory;
  readonly host: HostAddressSpace;
  readonly vm: VmMemory;
  readonly hva: Hva;
}

export const BASE_GFN = 0x10 as Gfn;
export const BASE_GPA = (BASE_GFN * PAGE_SIZE) as Gpa;
export const PAGES = 8;

export function createWorld(
  o: {
    guestFrames?: number;
    region?: Partial<MemoryRegion>;
    Vm?: typeof VmMemory;
    Host?: typeof HostAddressSpace;
  } = {},
): World {
  const memory = createManagedMemory({ guestFrames: o.guestFrames ?? 64, kernelFrames: 4 });
  const host = new (o.Host ?? HostAddressSpace)({ memory });
  const vm = new (o.Vm ?? VmMemory)({ host });
  const hva = host.mmap({ pages: PAGES });
  drive(vm.setMemoryRegion({ slot: 0, gpa: BASE_GPA, bytes: PAGES * PAGE_SIZE, hva, ...o.region }));
  return { memory, host, vm, hva };
}

/** Tears the world down, and gives the guest frames that are still in use: 0 unless somebody leaks. */
export function endWorld(world: World): number {
  drive(world.vm.destroy());
  drive(world.host.destroy());
  return world.memory.frames.liveCount('guest');
}

/** The region of slot 0 with changes. */
export function region(world: World, o: Partial<MemoryRegion> = {}): MemoryRegion {
  return { slot: 0, gpa: BASE_GPA, bytes: PAGES * PAGE_SIZE, hva: world.hva, ...o };
}

/** Host pages [first, first + count) from an address. */
export function pages(hva: Hva, first: number, count = 1): HvaRange {
  return { start: at(hva, first), end: at(hva, first + count) };
}

/** The address of the page `index` pages after `hva`. */
export function at(hva: Hva, index: number): Hva {
  return (hva + index * PAGE_SIZE) as Hva;
}

export function gfn(index: number): Gfn {
  return (BASE_GFN + index) as Gfn;
}

/** The errno with which the work fails; 'none' when it does not. */
export function errorCode(work: () => unknown): string {
  try {
    work();
    return 'none';
  } catch (error) {
    if (error instanceof OperatingError) return error.code;
    throw error;
  }
}

export function failure(op: () => Op<unknown>): string {
  return errorCode(() => drive(op()));
}

export function writeByte(world: World, hva: Hva, byte: number): void {
  drive(world.host.write(hva, Uint8Array.of(byte)));
}

export function readByte(world: World, hva: Hva): number {
  const target = new Uint8Array(1);
  drive(world.host.read(hva, target));
  return target[0]!;
}

/** Resumes until `reached()`; true when that comes before the end. */
export function runUntil(op: Op<unknown>, reached: () => boolean): boolean {
  while (!reached()) if (op.next().done === true) return false;
  return true;
}

/** Resumes until a point with the name is yielded; true when there is one. */
export function runToPoint(op: Op<unknown>, name: string): boolean {
  for (;;) {
    const { done, value } = op.next();
    if (done === true) return false;
    if ((value as SyncPoint).name === name) return true;
  }
}

/** Resumes until a point that is not ready: its name; 'done' when there is none. */
export function runUntilBlocked(op: Op<unknown>): string {
  for (;;) {
    const { done, value } = op.next();
    if (done === true) return 'done';
    if (value.ready !== undefined && !value.ready()) return value.name;
  }
}

/** The names of all points that an operation yields, when nobody else runs. */
export function pointNames(op: Op<unknown>): string[] {
  const names: string[] = [];
  for (;;) {
    const { done, value } = op.next();
    if (done === true) return names;
    names.push(value.name);
  }
}

/** Frames that a test took away from the guest. */
export function exhaust(memory: HostMemory, left = 0): Pfn[] {
  const taken: Pfn[] = [];
  while (memory.frames.freeCount('guest') > left) taken.push(memory.frames.allocate('guest'));
  return taken;
}

/** A secondary MMU that remembers what it was told, in order. */
export class RecordingMmu implements SecondaryMmu {
  readonly calls: string[] = [];
  readonly vcpu: number | undefined;

  constructor(o: { vcpu?: number } = {}) {
    this.vcpu = o.vcpu;
  }

  zapGfnRange(start: Gfn, end: Gfn): void {
    this.calls.push(`zap ${start}..${end}`);
  }

  memslotsUpdated(memslots: { generation: number }): void {
    this.calls.push(`generation ${memslots.generation}`);
  }

  *kick(o: { mayBlock: boolean }): Op<void> {
    this.calls.push(o.mayBlock ? 'kick' : 'kick without waiting');
  }
}
