import { type HostMemory, type Hva, PAGE_SIZE, type Pfn } from '@nvmx/guest-memory';
import {
  absentWord,
  COW,
  MAPPED,
  MAPPING_WRITABLE,
  PageTable,
  PRESENT,
  type Pte,
  presentWord,
  WRITABLE,
  wordPfn,
  wordToPte,
} from './page-table.ts';
import { type HvaRange, hvaToPage, USER_ADDRESS_END } from './range.ts';

/** Why a page was left as it was. */
export type Refusal = 'pinned' | 'changed';

/**
 * The page table of an address space and the frames behind it. Every method is one step and announces nothing: the
 * address space puts the notifier around those that take something away. References of frames stay balanced.
 */
export class HostPages {
  readonly #table = new PageTable();
  readonly #memory: HostMemory;
  readonly #refusesPinned: (pfn: Pfn) => boolean;
  /** Users of frames that more than one page-table entry shares: two or more. */
  readonly #sharers = new Map<Pfn, number>();
  #residentPages = 0;

  constructor(o: { memory: HostMemory; refusesPinned: (pfn: Pfn) => boolean }) {
    this.#memory = o.memory;
    this.#refusesPinned = o.refusesPinned;
  }

  /** Present page-table entries. */
  get residentPages(): number {
    return this.#residentPages;
  }

  pte(hva: Hva): Pte | undefined {
    return wordToPte(this.#table.get(hvaToPage(hva)));
  }

  /** The frame of a present entry. */
  translate(hva: Hva): Pfn | undefined {
    const word = this.#table.get(hvaToPage(hva));
    return (word & PRESENT) === 0 ? undefined : wordPfn(word);
  }

  /** The frame of a present entry that allows the access. */
  allowed(hva: Hva, o: { write: boolean }): Pfn | undefined {
    const word = this.#table.get(hvaToPage(hva));
    const needed = o.write ? PRESENT | WRITABLE : PRESENT;
    return (word & needed) === needed ? wordPfn(word) : undefined;
  }

  /** The permission of the mapping that the page lies in, present or not. */
  mapping(hva: Hva): 'none' | 'read-only' | 'writable' {
    const word = this.#table.get(hvaToPage(hva));
    if ((word & MAPPED) === 0) return 'none';
    return (word & MAPPING_WRITABLE) === 0 ? 'read-only' : 'writable';
  }

  /** The first, or the last, page of the range that lies in a mapping. */
  mappedPage(range: HvaRange, which: 'first' | 'last'): Hva | undefined {
    let found: number | undefined;
    this.#forEach(range, (page) => {
      found = which === 'first' ? (found ?? page) : page;
    });
    return found === undefined ? undefined : ((found * PAGE_SIZE) as Hva);
  }

  /** Makes a mapping with no frames. */
  map(range: HvaRange, o: { writable: boolean }): void {
    const word = MAPPED | (o.writable ? MAPPING_WRITABLE : 0);
    for (let page = hvaToPage(range.start); page < hvaToPage(range.end); page++) this.#table.set(page, word);
  }

  /** Puts a frame of zeros behind a page of a mapping. Throws OperatingError ENOMEM. */
  populate(hva: Hva): void {
    const writable = this.mapping(hva) === 'writable';
    this.#set(hva, { pfn: this.#memory.frames.allocate('guest'), writable, cow: false });
    this.#residentPages++;
  }

  /** Drops the frames of the range, or the whole mappings. */
  clear(range: HvaRange, what: 'frames' | 'mappings'): void {
    this.#forEach(range, (page, word) => {
      this.#table.set(page, what === 'mappings' ? 0 : absentWord(word));
      if ((word & PRESENT) === 0) return;
      this.#residentPages--;
      this.dropSharer(wordPfn(word));
    });
  }

  clearAll(): void {
    this.clear({ start: 0 as Hva, end: USER_ADDRESS_END as Hva }, 'mappings');
  }

  protect(range: HvaRange, o: { writable: boolean }): void {
    this.#forEach(range, (page, word) => this.#table.set(page, protectedWord(word, o)));
  }

  isShared(pfn: Pfn): boolean {
    return this.#sharers.has(pfn);
  }

  /** Makes the present entry read-only, so that the next store looks at it. */
  markCow(hva: Hva): void {
    const pfn = this.translate(hva);
    if (pfn !== undefined) this.#set(hva, { pfn, writable: false, cow: true });
  }

  /** The last user of a copy-on-write frame stores in place. */
  reuse(hva: Hva, pfn: Pfn): void {
    this.#set(hva, { pfn, writable: true, cow: false });
  }

  /** Moves the bytes of `old` to `copy` and puts that behind the page, unless the page changed or may not move. */
  move(hva: Hva, o: { old: Pfn; copy: Pfn }): Refusal | undefined {
    const pte = this.pte(hva);
    if (pte?.pfn !== o.old || this.isShared(o.old)) return 'changed';
    if (this.#refusesPinned(o.old)) return 'pinned';
    this.#replace(hva, o, { ...pte, pfn: o.copy });
    return undefined;
  }

  /** Gives the page a copy of its shared frame, unless it has one by now. */
  breakCow(hva: Hva, o: { old: Pfn; copy: Pfn }): Refusal | undefined {
    const pte = this.pte(hva);
    if (pte?.pfn !== o.old || pte.writable || !this.isShared(o.old)) return 'changed';
    this.#replace(hva, o, { pfn: o.copy, writable: true, cow: false });
    return undefined;
  }

  /** Lets `drop` share the frame of `keep`. Both entries must still be the read-only ones whose bytes were compared. */
  share(at: { keep: Hva; drop: Hva }, o: { keep: Pfn; drop: Pfn }): Refusal | undefined {
    const [keep, drop] = [this.pte(at.keep), this.pte(at.drop)];
    if (keep?.pfn !== o.keep || drop?.pfn !== o.drop || !keep.cow || !drop.cow) return 'changed';
    if (this.#refusesPinned(o.keep) || this.#refusesPinned(o.drop)) return 'pinned';
    this.addSharer(o.keep);
    this.#set(at.drop, { pfn: o.keep, writable: false, cow: true });
    this.dropSharer(o.drop);
    return undefined;
  }

  addSharer(pfn: Pfn): void {
    this.#memory.frames.get(pfn);
    this.#sharers.set(pfn, (this.#sharers.get(pfn) ?? 1) + 1);
  }

  /** Drops one user of a frame, shared or not. */
  dropSharer(pfn: Pfn): void {
    const sharers = this.#sharers.get(pfn);
    if (sharers === 2) this.#sharers.delete(pfn);
    else if (sharers !== undefined) this.#sharers.set(pfn, sharers - 1);
    this.#memory.frames.put(pfn);
  }

  #replace(hva: Hva, o: { old: Pfn; copy: Pfn }, pte: Pte): void {
    this.#memory.u8.copyWithin(o.copy * PAGE_SIZE, o.old * PAGE_SIZE, (o.old + 1) * PAGE_SIZE);
    this.#set(hva, pte);
    this.dropSharer(o.old);
  }

  #set(hva: Hva, pte: Pte): void {
    const page = hvaToPage(hva);
    this.#table.set(page, presentWord(this.#table.get(page), pte));
  }

  #forEach(range: HvaRange, visit: (page: number, word: number) => void): void {
    this.#table.forEach(hvaToPage(range.start), hvaToPage(range.end), visit);
  }
}

/** Entries that a store must copy first stay read-only. */
function protectedWord(word: number, o: { writable: boolean }): number {
  if (!o.writable) return word & ~(MAPPING_WRITABLE | WRITABLE);
  const storesAllowed = (word & (PRESENT | COW)) === PRESENT;
  return word | MAPPING_WRITABLE | (storesAllowed ? WRITABLE : 0);
}
