import { assert, type Pfn } from '@nvmx/guest-memory';

/** One present page-table entry. */
export interface Pte {
  readonly pfn: Pfn;
  /** Whether a store may go through this entry. A copy-on-write entry never is. */
  readonly writable: boolean;
  /** Whether the next store copies the page first. */
  readonly cow: boolean;
}

/** The page lies in a mapping (a VMA). */
export const MAPPED = 1;
/** The mapping allows stores. */
export const MAPPING_WRITABLE = 2;
/** A frame is behind the page. */
export const PRESENT = 4;
/** The entry allows stores. */
export const WRITABLE = 8;
/** The frame is shared: a store copies it first. */
export const COW = 16;

const PFN_SHIFT = 5;
const PFN_END = 2 ** (32 - PFN_SHIFT);
const LEAF_SHIFT = 9;
const LEAF_PAGES = 1 << LEAF_SHIFT;
const LEAF_MASK = LEAF_PAGES - 1;
const REGION_SHIFT = 18;
const REGION_PAGES = 1 << REGION_SHIFT;

/** The leaves of one GiB of addresses. */
type Region = (Int32Array | undefined)[];

/**
 * Page number to one 32-bit word: pfn, entry bits and the permission of the mapping, which so needs no tree of areas.
 * Three levels: a map of GiB regions with the last one remembered, 512 leaves, 512 entries.
 */
export class PageTable {
  readonly #regions = new Map<number, Region>();
  #lastNumber = -1;
  #lastRegion: Region | undefined;

  /** The word of a page; 0 when nothing is mapped there. */
  get(page: number): number {
    const number = Math.floor(page / REGION_PAGES);
    const region = number === this.#lastNumber ? this.#lastRegion : this.#remember(number);
    if (region === undefined) return 0;
    const index = page - number * REGION_PAGES;
    const leaf = region[index >>> LEAF_SHIFT];
    return leaf === undefined ? 0 : leaf[index & LEAF_MASK]!;
  }

  set(page: number, word: number): void {
    const number = Math.floor(page / REGION_PAGES);
    const index = page - number * REGION_PAGES;
    const region = this.#regionToWrite(number);
    let leaf = region[index >>> LEAF_SHIFT];
    if (leaf === undefined) {
      leaf = new Int32Array(LEAF_PAGES);
      region[index >>> LEAF_SHIFT] = leaf;
    }
    leaf[index & LEAF_MASK] = word;
  }

  /** Calls `visit` for each mapped page of [start, end) in order, passing over absent regions and leaves. */
  forEach(start: number, end: number, visit: (page: number, word: number) => void): void {
    const first = Math.floor(start / REGION_PAGES);
    const last = Math.floor((end - 1) / REGION_PAGES);
    // A wide range asks the regions that there are, a narrow one those that it names.
    const numbers = last - first < this.#regions.size ? range(first, last) : [...this.#regions.keys()].sort(ascending);
    for (const number of numbers) {
      const base = number * REGION_PAGES;
      const region = this.#regions.get(number);
      if (region === undefined || number < first || number > last) continue;
      visitRegion(region, { base, start: Math.max(start, base), end: Math.min(end, base + REGION_PAGES) }, visit);
    }
  }

  #remember(number: number): Region | undefined {
    this.#lastNumber = number;
    this.#lastRegion = this.#regions.get(number);
    return this.#lastRegion;
  }

  #regionToWrite(number: number): Region {
    let region = this.#regions.get(number);
    if (region === undefined) {
      region = new Array<Int32Array | undefined>(REGION_PAGES / LEAF_PAGES).fill(undefined);
      this.#regions.set(number, region);
    }
    this.#lastNumber = number;
    this.#lastRegion = region;
    return region;
  }
}

function visitRegion(
  region: Region,
  o: { base: number; start: number; end: number },
  visit: (page: number, word: number) => void,
): void {
  for (let page = o.start; page < o.end; ) {
    const index = page - o.base;
    const leaf = region[index >>> LEAF_SHIFT];
    const leafEnd = Math.min(o.end, page + LEAF_PAGES - (index & LEAF_MASK));
    for (; leaf !== undefined && page < leafEnd; page++) {
      const word = leaf[(page - o.base) & LEAF_MASK]!;
      if (word !== 0) visit(page, word);
    }
    page = leafEnd;
  }
}

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}

function ascending(a: number, b: number): number {
  return a - b;
}

/** The frame of a present word. */
export function wordPfn(word: number): Pfn {
  return (word >>> PFN_SHIFT) as Pfn;
}

/** A word with another frame and other entry bits; the bits of the mapping stay. */
export function presentWord(word: number, o: { pfn: Pfn; writable: boolean; cow: boolean }): number {
  assert(o.pfn < PFN_END, `page table: pfn ${o.pfn} does not fit an entry`);
  const entry = PRESENT | (o.writable ? WRITABLE : 0) | (o.cow ? COW : 0);
  return (o.pfn << PFN_SHIFT) | (word & (MAPPED | MAPPING_WRITABLE)) | entry;
}

/** A word without its frame. */
export function absentWord(word: number): number {
  return word & (MAPPED | MAPPING_WRITABLE);
}

/** What the word says, or undefined when it is not present. */
export function wordToPte(word: number): Pte | undefined {
  if ((word & PRESENT) === 0) return undefined;
  return { pfn: wordPfn(word), writable: (word & WRITABLE) !== 0, cow: (word & COW) !== 0 };
}
