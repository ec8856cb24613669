import { type Hva, type Mapping, OperatingError, type Pfn, pageStart } from '@nvmx/guest-memory';
import type { BackendStatistics, VmMemory } from '@nvmx/mmu-events';
import type { Op } from '@nvmx/sync';
import * as points from './points.ts';

/** A page that R7 found and R8 made reachable. Holds the reference of R7 until `put()` or `discard()`. */
export interface ResolvedPage {
  readonly pfn: Pfn;
  readonly mapping: Mapping;
  /** The mapping is the one that the cache had before. */
  readonly reused: boolean;
}

/** R7, R8 and their undoing: from a user address to a mapped frame and back. Counts each mapping. */
export class PageResolver {
  readonly #vm: VmMemory;
  readonly #write: boolean;
  readonly #statistics: BackendStatistics;

  constructor(o: { vm: VmMemory; write: boolean; statistics: BackendStatistics }) {
    this.#vm = o.vm;
    this.#write = o.write;
    this.#statistics = o.statistics;
  }

  /** An error, and nothing taken, when nothing backs the address, it is forbidden, or the page cannot be mapped. */
  *resolve(hva: Hva, kept: Mapping | undefined): Op<ResolvedPage | OperatingError> {
    const pfn = yield* this.#fault(hva);
    if (pfn instanceof OperatingError) return pfn;
    // No yield since the fault: the page table still holds the frame, so that it is alive here.
    this.#get(pfn);
    yield points.resolved;
    if (kept?.pfn === pfn) return { pfn, mapping: kept, reused: true };
    yield points.mapping;
    const mapping = this.#map(pfn);
    if (!(mapping instanceof OperatingError)) return { pfn, mapping, reused: false };
    this.#put(pfn);
    return mapping;
  }

  put(page: ResolvedPage): void {
    this.#put(page.pfn);
  }

  /** Takes back what resolve() did, for a page that the notifier has taken away meanwhile. */
  *discard(page: ResolvedPage): Op<void> {
    this.#put(page.pfn);
    if (!page.reused) yield* this.unmap(page.mapping);
  }

  *unmap(mapping: Mapping): Op<void> {
    yield points.unmapping;
    this.#statistics.unmaps++;
    this.#vm.memory.unmap(mapping);
  }

  *#fault(hva: Hva): Op<Pfn | OperatingError> {
    try {
      return yield* this.#vm.host.fault(pageStart(hva), { write: this.#write });
    } catch (error) {
      return operatingErrorOf(error);
    }
  }

  #map(pfn: Pfn): Mapping | OperatingError {
    try {
      const mapping = this.#vm.memory.map(pfn);
      this.#statistics.maps++;
      return mapping;
    } catch (error) {
      return operatingErrorOf(error);
    }
  }

  /** GPC-19: only a frame with a `struct page` has a reference count to step. */
  #get(pfn: Pfn): void {
    if (this.#vm.memory.kind === 'managed') this.#vm.memory.frames.get(pfn);
  }

  #put(pfn: Pfn): void {
    if (this.#vm.memory.kind === 'managed') this.#vm.memory.frames.put(pfn);
  }
}

/** Lets programmer errors through. */
function operatingErrorOf(error: unknown): OperatingError {
  if (error instanceof OperatingError) return error;
  throw error;
}
