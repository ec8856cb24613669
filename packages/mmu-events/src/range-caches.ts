import { assert } from '@nvmx/guest-memory';
import type { Op } from '@nvmx/sync';
import { type HvaRange, hvaToPage, type RangeEvent } from './range.ts';

/** A cache of one host page's frame, as `struct gfn_to_pfn_cache`. The notifier walks those that an event touches. */
export interface RangeCache {
  /**
   * Number of the host page (hva / 4096) that the cache stands for, or -1 while it stands for none. Read when the cache
   * is registered or moved, to index it, and once more by the walk: -1, or a page outside the event, is passed over.
   */
  hvaPage(): number;
  /** N2: on return the cache is not valid and nobody is inside it. Runs under the list lock, so it may not sleep. */
  invalidateRange(event: RangeEvent): Op<void>;
  /**
   * Whose hardware may use the frame: that vCPU is kicked (N3) after the cache was invalidated. `'none'` for a cache that
   * L0 alone uses. Without it every vCPU is kicked.
   */
  readonly vcpu?: number | 'none' | undefined;
}

interface Position {
  page: number;
}

/**
 * The caches of a VM, sorted by host page: `kvm->gpc_list`. Unlike that list, a walk costs what it hits and not what
 * there is: two binary searches, then the hits.
 */
export class RangeCaches {
  readonly #positions = new Map<RangeCache, Position>();
  /** Two parallel arrays, ascending by page. */
  readonly #pages: number[] = [];
  readonly #caches: RangeCache[] = [];

  /** Registered caches. */
  get count(): number {
    return this.#positions.size;
  }

  has(cache: RangeCache): boolean {
    return this.#positions.has(cache);
  }

  add(cache: RangeCache): void {
    assert(!this.#positions.has(cache), 'range caches: the cache is registered already');
    const page = cache.hvaPage();
    this.#positions.set(cache, { page });
    this.#index(cache, page);
  }

  remove(cache: RangeCache): void {
    const position = this.#positions.get(cache);
    assert(position !== undefined, 'range caches: the cache is not registered');
    this.#unindex(cache, position.page);
    this.#positions.delete(cache);
  }

  /** The cache stands for another page now. */
  move(cache: RangeCache): void {
    const position = this.#positions.get(cache);
    assert(position !== undefined, 'range caches: the cache is not registered');
    const page = cache.hvaPage();
    if (page === position.page) return;
    this.#unindex(cache, position.page);
    position.page = page;
    this.#index(cache, page);
  }

  /** The caches indexed in the range, in order of their pages. */
  hits(range: HvaRange): RangeCache[] {
    const start = this.#lowerBound(hvaToPage(range.start));
    if (start === this.#pages.length) return none;
    const end = hvaToPage(range.end - 1) + 1;
    if (this.#pages[start]! >= end) return none;
    return this.#caches.slice(start, this.#lowerBound(end));
  }

  #index(cache: RangeCache, page: number): void {
    if (page < 0) return;
    const at = this.#lowerBound(page);
    this.#pages.splice(at, 0, page);
    this.#caches.splice(at, 0, cache);
  }

  #unindex(cache: RangeCache, page: number): void {
    if (page < 0) return;
    let at = this.#lowerBound(page);
    while (this.#caches[at] !== cache) at++;
    this.#pages.splice(at, 1);
    this.#caches.splice(at, 1);
  }

  /** Index of the first page that is not below `page`. */
  #lowerBound(page: number): number {
    let low = 0;
    let high = this.#pages.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#pages[middle]! < page) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

const none: RangeCache[] = [];

/** Whether the cache stands for a page of the range now: the test that comes before its lock is taken for writing. */
export function standsIn(cache: RangeCache, range: HvaRange): boolean {
  const page = cache.hvaPage();
  return page >= hvaToPage(range.start) && page < hvaToPage(range.end);
}
