import type { CodePage } from './code-cache.ts';

export const TLB_ENTRIES = 512;
const INDEX_MASK = TLB_ENTRIES - 1;

/** Words of a data entry: tag for reads, tag for writes, linear address bits 63:32, host-physical page. */
export const DATA_STRIDE = 4;
/** For the fast paths: (low >>> DATA_SHIFT) & DATA_MASK is the word index of the entry of a linear address. */
export const DATA_SHIFT = 10;
export const DATA_MASK = INDEX_MASK * DATA_STRIDE;
/** Words of a fetch entry: tag, linear address bits 63:32. */
export const FETCH_STRIDE = 2;

/** A tag that no linear page has: bit 0 of a page address is 0. */
const EMPTY = 1;
/** In a write tag: the page may be written, but its frame holds decoded code, so that no fast path may match. */
export const WRITE_WATCHED = 0x800;
export const PAGE_MASK = 0xfffff000 | 0;

/** Which rules of access the entries of a set stand for. */
export const enum Privilege {
  SUPERVISOR = 0,
  USER = 1,
  /** Supervisor with RFLAGS.AC = 1 under CR4.SMAP. */
  SUPERVISOR_USER_ACCESS = 2,
}
const PRIVILEGES = 3;

/** Translations for one privilege. The fast paths of the executors read the arrays directly. */
export class TranslationSet {
  readonly data = new Int32Array(TLB_ENTRIES * DATA_STRIDE).fill(EMPTY);
  readonly fetch = new Int32Array(TLB_ENTRIES * FETCH_STRIDE).fill(EMPTY);
  readonly fetchPages: (CodePage | undefined)[] = new Array(TLB_ENTRIES).fill(undefined);
  /** log2 of the bytes of the guest page that each entry is a fragment of; data entries first, then fetch entries. */
  readonly pageShift = new Uint8Array(2 * TLB_ENTRIES);
  /** Indices that were filled since the last flush, so that a flush costs what was filled. */
  readonly filled = new Int32Array(2 * TLB_ENTRIES);
  filledCount = 0;

  fillData(o: DataTranslation): void {
    const index = (o.low >>> 12) & INDEX_MASK;
    const e = index * DATA_STRIDE;
    const { data } = this;
    const page = o.low & PAGE_MASK;
    if (data[e] === EMPTY && data[e + 1] === EMPTY) this.filled[this.filledCount++] = index;
    data[e] = page;
    data[e + 1] = o.writable ? (o.watched ? page | WRITE_WATCHED : page) : EMPTY;
    data[e + 2] = o.high;
    data[e + 3] = o.hostPage;
    this.pageShift[index] = o.pageShift;
  }

  fillFetch(low: number, high: number, o: { readonly pageShift: number; readonly page: CodePage }): void {
    const index = (low >>> 12) & INDEX_MASK;
    const e = index * FETCH_STRIDE;
    if (this.fetch[e] === EMPTY) this.filled[this.filledCount++] = TLB_ENTRIES + index;
    this.fetch[e] = low & PAGE_MASK;
    this.fetch[e + 1] = high;
    this.fetchPages[index] = o.page;
    this.pageShift[TLB_ENTRIES + index] = o.pageShift;
  }

  flush(): void {
    for (let n = 0; n < this.filledCount; n++) this.#empty(this.filled[n]);
    this.filledCount = 0;
  }

  /** Drops every fragment of the page that holds a linear address. */
  flushAddress(low: number, high: number): void {
    let kept = 0;
    for (let n = 0; n < this.filledCount; n++) {
      const slot = this.filled[n];
      if (this.#isOfPage(slot, low, high)) this.#empty(slot);
      else this.filled[kept++] = slot;
    }
    this.filledCount = kept;
  }

  /** Forbids direct writes to a frame that now holds decoded code. */
  watchFrame(hostPage: number): void {
    const { data } = this;
    for (let n = 0; n < this.filledCount; n++) {
      const slot = this.filled[n];
      if (slot >= TLB_ENTRIES) continue;
      const e = slot * DATA_STRIDE;
      if (data[e + 3] === hostPage && data[e + 1] !== EMPTY) data[e + 1] |= WRITE_WATCHED;
    }
  }

  flushFetches(): void {
    this.fetch.fill(EMPTY);
    this.fetchPages.fill(undefined);
    let kept = 0;
    for (let n = 0; n < this.filledCount; n++) {
      if (this.filled[n] < TLB_ENTRIES) this.filled[kept++] = this.filled[n];
    }
    this.filledCount = kept;
  }

  #isOfPage(slot: number, low: number, high: number): boolean {
    const shift = this.pageShift[slot];
    if (slot >= TLB_ENTRIES) {
      const e = (slot - TLB_ENTRIES) * FETCH_STRIDE;
      return this.fetch[e] >>> shift === low >>> shift && this.fetch[e + 1] === high;
    }
    const e = slot * DATA_STRIDE;
    return this.data[e] >>> shift === low >>> shift && this.data[e + 2] === high;
  }

  #empty(slot: number): void {
    if (slot >= TLB_ENTRIES) {
      const index = slot - TLB_ENTRIES;
      this.fetch[index * FETCH_STRIDE] = EMPTY;
      this.fetchPages[index] = undefined;
    } else {
      this.data[slot * DATA_STRIDE] = EMPTY;
      this.data[slot * DATA_STRIDE + 1] = EMPTY;
    }
  }
}

/** What one walk found out about a data page. */
export interface DataTranslation {
  readonly low: number;
  readonly high: number;
  readonly hostPage: number;
  /** A write may go directly: permitted, and the dirty flags that it would set are set. */
  readonly writable: boolean;
  /** The frame holds decoded code. */
  readonly watched: boolean;
  readonly pageShift: number;
}

/** All translations under one VPID, EPT pointer and PCID: what VM entries and exits keep (SDM volume 3, "VPIDs"). */
export class TranslationContext {
  vpid = -1;
  eptPage = 0;
  pcid = 0;
  /** The bits of CR0, CR4 and EFER that the entries were filled under: see selectContext(). */
  rules = 0;
  lastUse = 0;
  /** The code mode whose pages the fetch entries hold. */
  mode = 64;
  readonly #sets: (TranslationSet | undefined)[] = new Array(PRIVILEGES).fill(undefined);

  set(privilege: Privilege): TranslationSet {
    this.#sets[privilege] ??= new TranslationSet();
    return this.#sets[privilege];
  }

  flush(): void {
    for (const set of this.#sets) set?.flush();
  }

  flushAddress(low: number, high: number): void {
    for (const set of this.#sets) set?.flushAddress(low, high);
  }

  flushFetches(): void {
    for (const set of this.#sets) set?.flushFetches();
  }

  watchFrame(hostPage: number): void {
    for (const set of this.#sets) set?.watchFrame(hostPage);
  }
}

const CONTEXTS_MAX = 32;

/** The contexts of a processor, least recently used first out. */
export class Tlb {
  readonly #contexts: TranslationContext[] = [];
  #clock = 0;

  /** The context of a VPID, EPT pointer (bits 51:12 as a page address, 0 without EPT) and PCID. */
  select(vpid: number, eptPage: number, pcid: number): TranslationContext {
    for (const context of this.#contexts) {
      if (context.vpid === vpid && context.pcid === pcid && context.eptPage === eptPage) {
        context.lastUse = ++this.#clock;
        return context;
      }
    }
    const context = this.#recycle();
    context.vpid = vpid;
    context.eptPage = eptPage;
    context.pcid = pcid;
    context.lastUse = ++this.#clock;
    return context;
  }

  flushAll(): void {
    for (const context of this.#contexts) context.flush();
  }

  flushVpid(vpid: number): void {
    for (const context of this.#contexts) if (context.vpid === vpid) context.flush();
  }

  flushVpidAddress(vpid: number, low: number, high: number): void {
    for (const context of this.#contexts) if (context.vpid === vpid) context.flushAddress(low, high);
  }

  flushEpt(eptPage: number): void {
    for (const context of this.#contexts) if (context.eptPage === eptPage) context.flush();
  }

  watchFrame(hostPage: number): void {
    for (const context of this.#contexts) context.watchFrame(hostPage);
  }

  #recycle(): TranslationContext {
    if (this.#contexts.length < CONTEXTS_MAX) {
      const context = new TranslationContext();
      this.#contexts.push(context);
      return context;
    }
    let oldest = this.#contexts[0];
    for (const context of this.#contexts) if (context.lastUse < oldest.lastUse) oldest = context;
    oldest.flush();
    return oldest;
  }
}
