import { type Gfn, type Gpa, gpaToGfn, type HostMemory, OperatingError } from '@nvmx/guest-memory';
import type { SecondaryMmu, VmMemory } from '@nvmx/mmu-events';
import type { Op } from '@nvmx/sync';
import { eptEntry } from '@nvmx/vmx-fields';
import { EptTables } from './ept-tables.ts';

/** Shadows of L1's EPT that are kept beside each other; L1 rarely uses more than one a vCPU (KVM: 3 previous roots). */
const SHADOWS_MAX = 4;
const EPTP_ADDRESS_LOW_BITS = 12;

/**
 * What became of a page fault. `retry`: an invalidation or a memslot update came between. The guest runs again and faults
 * again; L0 leaves its SRCU section on the way, so that the update can end.
 */
export type FaultOutcome = 'mapped' | 'retry' | 'no-memslot' | 'fault';

const outcomeOf = { ENOENT: 'no-memslot', EFAULT: 'fault', EAGAIN: 'retry' } as const;

/** Access that faulted, in the bits of an EPT entry: 1 read, 2 write, 4 fetch. */
export type EptAccess = number;

/**
 * L0's paging structures for its guests: one EPT that takes L1's addresses to frames, and shadows that take L2's
 * addresses there, merged from L1's own EPT. All of them lose what a notifier event or a memslot update takes away.
 */
export class Mmu implements SecondaryMmu {
  readonly #vm: VmMemory;
  readonly #memory: HostMemory;
  readonly #flush: (tables: EptTables) => void;
  readonly ept01: EptTables;
  /** By EPTP12 without its low bits, least recently used first. */
  readonly #shadows = new Map<number, EptTables>();

  /** `flush` drops the processor's translations made with these tables. */
  constructor(o: { readonly vm: VmMemory; readonly flush: (tables: EptTables) => void }) {
    this.#vm = o.vm;
    this.#memory = o.vm.memory;
    this.#flush = o.flush;
    this.ept01 = new EptTables(this.#memory);
    o.vm.addSecondaryMmu(this);
  }

  zapGfnRange(start: Gfn, end: Gfn): void {
    this.#zapRange(this.ept01, start, end);
    for (const shadow of this.#shadows.values()) this.#zapRange(shadow, start, end);
  }

  /** Takes write access from the L1 frames [start, end), so that the next write is seen and logged. */
  writeProtectGfnRange(start: Gfn, end: Gfn): void {
    this.#protectRange(this.ept01, start, end);
    for (const shadow of this.#shadows.values()) this.#protectRange(shadow, start, end);
  }

  /** The shadow of the EPT that L1 names by `eptp`, empty at first use. */
  shadowOf(eptp: number): EptTables {
    const root = rootOf(eptp);
    const known = this.#shadows.get(root);
    if (known !== undefined) this.#shadows.delete(root);
    else if (this.#shadows.size === SHADOWS_MAX) this.#dropOldestShadow();
    const shadow = known ?? this.#withRoom(undefined, () => new EptTables(this.#memory));
    this.#shadows.set(root, shadow);
    return shadow;
  }

  /** INVEPT of L1: what L0 merged from that EPT, or from all, is out of date. */
  dropShadow(eptp: number | 'all'): void {
    for (const [root, shadow] of this.#shadows) {
      if (eptp !== 'all' && root !== rootOf(eptp)) continue;
      shadow.clear();
      this.#flush(shadow);
    }
  }

  /** Maps the L1 page of `source` at `at` in `tables` with at most `access`. May fault the page in. */
  *map(o: {
    readonly tables: EptTables;
    readonly at: Gfn;
    readonly source: Gfn;
    readonly write: boolean;
    readonly access: EptAccess;
  }): Op<FaultOutcome> {
    const page = yield* this.#vm.pageFault(o.source, {
      write: o.write,
      install: ({ pfn, writable }) => {
        const access = writable ? o.access : o.access & ~eptEntry.WRITE;
        this.#withRoom(o.tables, () => o.tables.map({ at: o.at, pfn, access, source: o.source }));
        this.#flush(o.tables);
      },
    });
    return 'error' in page ? outcomeOf[page.error] : 'mapped';
  }

  /** An EPT violation of L1: its guest-physical page is missing, or lacks a permission. */
  *faultL1(address: Gpa, access: EptAccess): Op<FaultOutcome> {
    const gfn = gpaToGfn(address);
    const write = (access & eptEntry.WRITE) !== 0;
    return yield* this.map({ tables: this.ept01, at: gfn, source: gfn, write, access: ALL_ACCESS });
  }

  destroy(): void {
    this.ept01.destroy();
    for (const shadow of this.#shadows.values()) shadow.destroy();
    this.#shadows.clear();
  }

  #zapRange(tables: EptTables, start: Gfn, end: Gfn): void {
    if (tables.unmapSource(start, end)) this.#flush(tables);
  }

  #protectRange(tables: EptTables, start: Gfn, end: Gfn): void {
    if (tables.writeProtectSource(start, end)) this.#flush(tables);
  }

  /** Runs what takes kernel frames. When none is left, all shadows but `keep` give theirs back, and it is tried once more. */
  #withRoom<T>(keep: EptTables | undefined, take: () => T): T {
    try {
      return take();
    } catch (error) {
      if (!(error instanceof OperatingError) || error.code !== 'ENOMEM') throw error;
    }
    for (const [root, shadow] of this.#shadows) if (shadow !== keep) this.#drop(root, shadow);
    return take();
  }

  #drop(root: number, shadow: EptTables): void {
    this.#shadows.delete(root);
    this.#flush(shadow);
    shadow.destroy();
  }

  #dropOldestShadow(): void {
    const [root, shadow] = this.#shadows.entries().next().value as [number, EptTables];
    this.#drop(root, shadow);
  }
}

const ALL_ACCESS = eptEntry.READ | eptEntry.WRITE | eptEntry.EXECUTE;

function rootOf(eptp: number): number {
  return Math.floor(eptp / 2 ** EPTP_ADDRESS_LOW_BITS);
}
