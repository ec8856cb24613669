import {
  assert,
  type Gfn,
  type Hva,
  type Mapping,
  OperatingError,
  type PageView,
  type Pfn,
  type TraceSink,
} from '@nvmx/guest-memory';
import type { BackendStatistics, VmMemory } from '@nvmx/mmu-events';
import type { Op } from '@nvmx/sync';
import * as points from './points.ts';

/**
 * How a map ended. `EINVAL`: no memslot, a write to a read-only one, no host page behind it, or a frame that cannot be
 * pinned. `EFAULT`: the frame is known and cannot be made reachable. `cause` is what the host said, if it said something.
 */
export type MapOutcome =
  | { readonly ok: true; readonly pfn: Pfn }
  | { readonly ok: false; readonly code: 'EINVAL' | 'EFAULT'; readonly cause?: OperatingError };

/** Whose pages are mapped, and which of them may be. */
export interface HostMapOptions {
  readonly vm: VmMemory;
  /**
   * Whether a frame without a `struct page`, which nothing can pin, is mapped all the same. Unlike the module parameter
   * `allow_unsafe_mappings`: true unless said otherwise, since unmanaged memory is what this package is compared on.
   */
  readonly allowUnsafeMappings?: boolean;
  /** Counters to add to, often shared with other maps. */
  readonly statistics?: BackendStatistics;
  readonly trace?: TraceSink | undefined;
}

/** What unmap() has to undo. */
interface MappedPage {
  readonly gfn: Gfn;
  readonly writable: boolean;
  readonly pinned: boolean;
  readonly mapping: Mapping;
}

/**
 * One guest page, mapped for as long as it is in use: `struct kvm_host_map`.
 *
 * Tracks nothing: after a host event or a memslot update the old frame stays mapped until unmap(). Its users take turns;
 * the map itself has no lock. The caller of map() is inside `vm.srcu`.
 */
export class HostMap {
  readonly statistics: BackendStatistics;
  readonly #vm: VmMemory;
  readonly #allowUnsafeMappings: boolean;
  readonly #trace: TraceSink | undefined;
  #page: MappedPage | undefined;

  constructor(o: HostMapOptions) {
    this.#vm = o.vm;
    this.#allowUnsafeMappings = o.allowUnsafeMappings ?? true;
    this.statistics = o.statistics ?? { maps: 0, unmaps: 0, checks: 0, refreshes: 0, invalidations: 0 };
    this.#trace = o.trace;
  }

  get mapped(): boolean {
    return this.#page !== undefined;
  }

  get gfn(): Gfn | undefined {
    return this.#page?.gfn;
  }

  get pfn(): Pfn | undefined {
    return this.#page?.mapping.pfn;
  }

  /** Decided by the kind of map, not by what the page would allow. */
  get writable(): boolean {
    return this.#page?.writable === true;
  }

  /** The bytes of the page. Asserts that it is mapped. */
  get view(): PageView {
    assert(this.#page !== undefined, 'host-map: view of a page that is not mapped');
    return this.#page.mapping.view;
  }

  /** Maps a page for reading and writing: `kvm_vcpu_map()`. May sleep. Asserts that nothing is mapped. */
  *map(gfn: Gfn): Op<MapOutcome> {
    return yield* this.#map(gfn, { writable: true });
  }

  /** Maps a page for reading: `kvm_vcpu_map_readonly()`. A read-only memslot will do, and sharing is not broken up. */
  *mapReadonly(gfn: Gfn): Op<MapOutcome> {
    return yield* this.#map(gfn, { writable: false });
  }

  /** Records that the page was written, before unmap() does: `kvm_vcpu_map_mark_dirty()`. Nothing without a map. */
  markDirty(): void {
    if (this.#page === undefined) return;
    assert(this.#page.writable, 'host-map: a page mapped for reading was written');
    this.#vm.markDirty(this.#page.gfn);
  }

  /**
   * Gives the page back: `kvm_vcpu_unmap()`. A page that was mapped for writing is marked dirty, unless the caller knows
   * that nobody wrote. Nothing without a map.
   */
  unmap(o: { dirty: boolean } = { dirty: true }): void {
    const page = this.#page;
    if (page === undefined) return;
    if (page.writable && o.dirty) this.#vm.markDirty(page.gfn);
    this.#page = undefined;
    this.statistics.unmaps++;
    this.#vm.memory.unmap(page.mapping);
    if (page.pinned) this.#vm.memory.frames.unpin(page.mapping.pfn);
    this.#trace?.({ name: 'kvm_vcpu_unmap', gfn: page.gfn, pfn: page.mapping.pfn, dirty: page.writable && o.dirty });
  }

  *#map(gfn: Gfn, o: { writable: boolean }): Op<MapOutcome> {
    assert(this.#page === undefined, 'host-map: mapped already');
    this.statistics.refreshes++;
    const hva = this.#vm.gfnToHva(gfn, { write: o.writable });
    if (hva === undefined) return noMemslot;
    const pfn = yield* this.#follow(hva, { write: o.writable });
    if (pfn instanceof OperatingError) return { ok: false, code: 'EINVAL', cause: pfn };
    // No yield since the fault: the page table still holds the frame, so that it is alive here.
    const pinned = this.#vm.memory.frames.pin(pfn);
    if (!pinned && !this.#allowUnsafeMappings) return notPinned;
    yield points.mapping;
    const mapping = this.#reach(pfn);
    if (mapping instanceof OperatingError) {
      if (pinned) this.#vm.memory.frames.unpin(pfn);
      return { ok: false, code: 'EFAULT', cause: mapping };
    }
    this.#page = { gfn, writable: o.writable, pinned, mapping };
    this.#trace?.({ name: 'kvm_vcpu_map', gfn, pfn, writable: o.writable, pinned });
    return { ok: true, pfn };
  }

  *#follow(hva: Hva, o: { write: boolean }): Op<Pfn | OperatingError> {
    try {
      return yield* this.#vm.host.fault(hva, o);
    } catch (error) {
      return operatingErrorOf(error);
    }
  }

  #reach(pfn: Pfn): Mapping | OperatingError {
    try {
      const mapping = this.#vm.memory.map(pfn);
      this.statistics.maps++;
      return mapping;
    } catch (error) {
      return operatingErrorOf(error);
    }
  }
}

const noMemslot: MapOutcome = { ok: false, code: 'EINVAL' };
const notPinned: MapOutcome = { ok: false, code: 'EINVAL' };

/** Lets programmer errors through. */
function operatingErrorOf(error: unknown): OperatingError {
  if (error instanceof OperatingError) return error;
  throw error;
}
