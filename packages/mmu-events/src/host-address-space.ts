import { assert, type HostMemory, type Hva, PAGE_SIZE, type Pfn, type TraceSink } from '@nvmx/guest-memory';
import { mightSleep, type Op, point, sleepPoint } from '@nvmx/sync';
import { Listeners, type MmuNotifierListener } from './listeners.ts';
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
import {
  checkRange,
  type HvaRange,
  hvaToPage,
  operatingError,
  pageRange,
  type RangeEvent,
  type RangeReason,
  USER_ADDRESS_END,
} from './range.ts';

/** A page fault may sleep before it looks at the page again. Partner: `pteChange`. */
const pageFault = sleepPoint('host mm: page fault');
/** Between the start of an event and its page-table change. Partner: a fault that still returns the old frame. */
const pteChange = point('host mm: before the pte change');
/** Between the page-table change and the end of the event. Partner: a fault that returns the new frame already. */
const pteChanged = point('host mm: after the pte change');

/** Where mmap() puts mappings when nobody says otherwise. */
const MMAP_BASE = 0x7f00_0000_0000;

/** Why a page was left as it was. */
type Refusal = 'pinned' | 'changed';

/**
 * The address space of the VMM process: host virtual address to frame, as the kernel's mm keeps it.
 *
 * Its events really move bytes between frames. Each is bracketed by the start and end of every listener with the change
 * of the page table between, in one step; a frame that loses its last user is free, and handed out again, at once.
 *
 * Events may overlap as tasks do, so each change looks again at what it is about to change. Unlike Linux: there is no
 * mmap_lock, no zero page (a read fault allocates), no swap, and one VMM process a memory.
 */
export class HostAddressSpace {
  readonly memory: HostMemory;
  protected readonly table = new PageTable();
  protected readonly trace: TraceSink | undefined;
  readonly #listeners = new Listeners();
  /** Users of frames that more than one page-table entry shares: two or more. */
  readonly #sharers = new Map<Pfn, number>();
  #nextHva = MMAP_BASE;
  #residentPages = 0;

  constructor(o: { memory: HostMemory; trace?: TraceSink | undefined }) {
    this.memory = o.memory;
    this.trace = o.trace;
  }

  /** Present page-table entries. */
  get residentPages(): number {
    return this.#residentPages;
  }

  /**
   * Adds a listener to all later events; asserts that it does not listen yet. The returned function takes it off at once:
   * an event under way then has no end for it, and a call under way goes on. See `synchronizeListeners()`.
   */
  subscribe(listener: MmuNotifierListener): () => void {
    return this.#listeners.add(listener);
  }

  /** Waits until every call of a listener that is under way has returned, as mmu_notifier_unregister() does. */
  *synchronizeListeners(): Op<void> {
    yield* this.#listeners.srcu.synchronize();
  }

  /**
   * Maps `pages` pages of zeros, populated on the first fault. Without `at` the place is free and has a gap around it.
   *
   * @throws OperatingError EINVAL for a bad size or place, EEXIST when `at` overlaps a mapping (as MAP_FIXED_NOREPLACE),
   * ENOMEM without address space.
   */
  mmap(o: { pages: number; at?: Hva; writable?: boolean }): Hva {
    const start = o.at ?? this.#place(o.pages);
    const range = { start, end: (start + o.pages * PAGE_SIZE) as Hva };
    checkRange('mmap', range);
    this.#assertUnmapped(range);
    const word = MAPPED | (o.writable === false ? 0 : MAPPING_WRITABLE);
    for (let page = hvaToPage(range.start); page < hvaToPage(range.end); page++) this.table.set(page, word);
    return start;
  }

  /** Removes mappings and their frames. Pages without a mapping are passed over. EINVAL for a bad range. */
  *munmap(range: HvaRange): Op<void> {
    checkRange('munmap', range);
    yield* this.changing({ ...range, mayBlock: true, reason: 'munmap' }, () => this.#clear(range, 'mapping'));
  }

  /** The frame behind `hva` right now, by a present entry. Never faults: the oracle of the tests. */
  translate(hva: Hva): Pfn | undefined {
    const word = this.table.get(hvaToPage(hva));
    return (word & PRESENT) === 0 ? undefined : wordPfn(word);
  }

  /** The present entry of `hva`. Never faults. */
  pte(hva: Hva): Pte | undefined {
    return wordToPte(this.table.get(hvaToPage(hva)));
  }

  /** The frame behind `hva` if the entry is present and allows the access: `get_user_pages_fast_only()`. Never sleeps. */
  tryFault(hva: Hva, o: { write: boolean }): Pfn | undefined {
    const word = this.table.get(hvaToPage(hva));
    const needed = o.write ? PRESENT | WRITABLE : PRESENT;
    return (word & needed) === needed ? wordPfn(word) : undefined;
  }

  /**
   * `get_user_pages()`: populates the page with zeros, or breaks copy-on-write for a write. Takes no reference: the frame
   * is the right one when the operation returns, and for no longer than the caller can tell by the notifier.
   *
   * @throws OperatingError EFAULT without a mapping or against its permission, ENOMEM without a free frame.
   */
  *fault(hva: Hva, o: { write: boolean }): Op<Pfn> {
    mightSleep(pageFault.name);
    const present = this.tryFault(hva, o);
    if (present !== undefined) return present;
    yield pageFault;
    for (;;) {
      const found = this.tryFault(hva, o);
      if (found !== undefined) return found;
      this.#checkAccess(hva, o);
      if (this.translate(hva) === undefined) this.#populate(hva);
      else yield* this.#breakCopyOnWrite(hva);
    }
  }

  /** MADV_DONTNEED: drops the frames, the next fault finds zeros. A pinned frame lives on with whoever pinned it. */
  *discard(range: HvaRange): Op<void> {
    this.#checkMapped('discard', range);
    yield* this.changing({ ...range, mayBlock: true, reason: 'discard' }, () => this.#clear(range, 'frame'));
  }

  /** The OOM reaper: discards what is there, and may not sleep, nor wait for anyone who does. */
  *reap(range: HvaRange): Op<void> {
    checkRange('reap', range);
    yield* this.changing({ ...range, mayBlock: false, reason: 'reap' }, () => this.#clear(range, 'frame'));
  }

  /**
   * Moves the page to another frame, as compaction does: same bytes, same permission.
   *
   * @returns the new frame.
   * @throws OperatingError EFAULT without a mapping, ENOENT when no frame is behind the page, EBUSY when the frame is
   * pinned or shared, EAGAIN when the page changed meanwhile, ENOMEM without a free frame.
   */
  *migrate(hva: Hva): Op<Pfn> {
    const old = this.#present('migrate', hva);
    if (this.refusesPinned(old) || this.#sharers.has(old)) throw busy('migrate', hva, old);
    const copy = this.memory.frames.allocate('guest');
    const event = { ...pageRange(hva), mayBlock: true, reason: 'migrate' } as const;
    const refusal = yield* this.changing(event, () => this.#replace(hva, { old, copy, writable: 'as before' }));
    if (refusal === undefined) return copy;
    this.memory.frames.put(copy);
    if (refusal === 'pinned') throw busy('migrate', hva, old);
    throw changed('migrate', hva);
  }

  /** mprotect(). Entries that a store must copy first stay write-protected. ENOMEM when a page has no mapping. */
  *protect(range: HvaRange, o: { writable: boolean }): Op<void> {
    this.#checkMapped('protect', range);
    yield* this.changing({ ...range, mayBlock: true, reason: 'protect' }, () => {
      this.table.forEach(hvaToPage(range.start), hvaToPage(range.end), (page, word) => {
        this.table.set(page, protectedWord(word, o));
      });
    });
  }

  /**
   * KSM: write-protects both pages, compares their bytes, and lets both share the frame of `keep`, copy-on-write.
   * Pages that share already are left alone.
   *
   * @throws OperatingError EINVAL for one page twice, EFAULT without a mapping, ENOENT without a frame, EBUSY when one
   * is pinned, EAGAIN when the bytes differ or a page changed meanwhile (both then stay copy-on-write, which is harmless).
   */
  *merge(o: { keep: Hva; drop: Hva }): Op<void> {
    if (hvaToPage(o.keep) === hvaToPage(o.drop)) throw operatingError('EINVAL', 'merge', 'is one page twice', o);
    this.#present('merge', o.keep);
    this.#present('merge', o.drop);
    yield* this.#writeProtect(o.keep, 'merge');
    yield* this.#writeProtect(o.drop, 'merge');
    const keep = this.#present('merge', o.keep);
    const drop = this.#present('merge', o.drop);
    if (keep === drop) return;
    if (!this.sameBytes(keep, drop)) throw operatingError('EAGAIN', 'merge', 'have different bytes', o);
    const event = { ...pageRange(o.drop), mayBlock: true, reason: 'merge' } as const;
    const refusal = yield* this.changing(event, () => this.#share(o, { keep, drop }));
    if (refusal === 'pinned') throw busy('merge', o.drop, drop);
    if (refusal === 'changed') throw changed('merge', o.drop);
  }

  /**
   * A child is forked, this process writes to the page, the child exits: the page ends in a new frame with the same
   * bytes. A pinned page keeps its frame, since fork copies those for the child.
   *
   * @returns the frame behind the page afterwards.
   * @throws OperatingError EFAULT without a writable mapping, ENOMEM without a free frame.
   */
  *copyOnWrite(hva: Hva): Op<Pfn> {
    const old = yield* this.fault(hva, { write: false });
    this.#checkAccess(hva, { write: true });
    if (this.refusesPinned(old)) return yield* this.fault(hva, { write: true });
    this.#addSharer(old);
    try {
      yield* this.#writeProtect(hva, 'copy-on-write');
      return yield* this.fault(hva, { write: true });
    } finally {
      this.#dropSharer(old);
    }
  }

  /**
   * Reads as the VMM's own code does, faulting pages in; may cross pages.
   *
   * @throws OperatingError EFAULT without a mapping: earlier pages are in `target` then. ENOMEM as fault().
   */
  *read(hva: Hva, target: Uint8Array): Op<void> {
    for (let done = 0; done < target.length; ) {
      const at = (hva + done) as Hva;
      const count = Math.min(target.length - done, PAGE_SIZE - (at % PAGE_SIZE));
      const source = (yield* this.fault(at, { write: false })) * PAGE_SIZE + (at % PAGE_SIZE);
      target.set(this.memory.u8.subarray(source, source + count), done);
      done += count;
    }
  }

  /** Writes as the VMM's own code does. See read(); also EFAULT for a mapping that is read-only. */
  *write(hva: Hva, source: Uint8Array): Op<void> {
    for (let done = 0; done < source.length; ) {
      const at = (hva + done) as Hva;
      const count = Math.min(source.length - done, PAGE_SIZE - (at % PAGE_SIZE));
      const target = (yield* this.fault(at, { write: true })) * PAGE_SIZE + (at % PAGE_SIZE);
      this.memory.u8.set(source.subarray(done, done + count), target);
      done += count;
    }
  }

  /** exit_mmap(): releases every listener, then drops every mapping, so that each frame is put exactly once. */
  *destroy(): Op<void> {
    for (const listener of this.#listeners.current) {
      if (listener.release !== undefined) yield* listener.release();
    }
    this.table.forAll((page, word) => {
      this.#dropFrame(word);
      this.table.set(page, 0);
    });
  }

  /** Whether a pinned frame stays where it is: a device, or L0 itself, holds its address. */
  protected refusesPinned(pfn: Pfn): boolean {
    return this.memory.frames.pinned(pfn);
  }

  /** Whether KSM may let the two pages share a frame. */
  protected sameBytes(keep: Pfn, drop: Pfn): boolean {
    const { u8 } = this.memory;
    const [left, right] = [keep * PAGE_SIZE, drop * PAGE_SIZE];
    for (let i = 0; i < PAGE_SIZE; i++) if (u8[left + i] !== u8[right + i]) return false;
    return true;
  }

  /** Whether the listeners hear of the event: always, in a kernel that works. */
  protected mustNotify(_event: RangeEvent): boolean {
    return true;
  }

  /** One event: start, the change in one step, end. */
  protected *changing<T>(event: RangeEvent & { reason: RangeReason }, change: () => T): Op<T> {
    if (this.trace !== undefined) this.trace({ name: 'mmu_notifier_range', ...event });
    const begun = this.mustNotify(event) ? this.#listeners.current : [];
    yield* this.#listeners.start(begun, event);
    yield pteChange;
    const result = change();
    yield pteChanged;
    yield* this.#listeners.end(begun, event);
    return result;
  }

  /** A store to a copy-on-write entry: the last sharer keeps the frame, any other gets a copy. */
  *#breakCopyOnWrite(hva: Hva): Op<void> {
    const old = this.#present('fault', hva);
    if (!this.#sharers.has(old)) {
      this.#setPresent(hva, { pfn: old, writable: true, cow: false });
      return;
    }
    const copy = this.memory.frames.allocate('guest');
    const event = { ...pageRange(hva), mayBlock: true, reason: 'copy-on-write' } as const;
    const refusal = yield* this.changing(event, () => this.#replace(hva, { old, copy, writable: true }));
    if (refusal !== undefined) this.memory.frames.put(copy);
  }

  /** Makes the entry read-only, and the next store copy the page. An event only when the entry allowed stores. */
  *#writeProtect(hva: Hva, reason: 'merge' | 'copy-on-write'): Op<void> {
    if (!this.pte(hva)?.writable) return this.#markCow(hva);
    const event = { ...pageRange(hva), mayBlock: true, reason } as const;
    const refusal = yield* this.changing(event, (): Refusal | undefined => {
      const pfn = this.translate(hva);
      if (pfn !== undefined && reason === 'merge' && this.refusesPinned(pfn)) return 'pinned';
      this.#markCow(hva);
      return undefined;
    });
    if (refusal === 'pinned') throw busy(reason, hva, this.translate(hva));
  }

  #markCow(hva: Hva): void {
    const pfn = this.translate(hva);
    if (pfn !== undefined) this.#setPresent(hva, { pfn, writable: false, cow: true });
  }

  /** Puts a copy of the old frame behind the page, if the old one still is there and may go. */
  #replace(hva: Hva, o: { old: Pfn; copy: Pfn; writable: true | 'as before' }): Refusal | undefined {
    const pte = this.pte(hva);
    if (pte === undefined || pte.pfn !== o.old) return 'changed';
    const breaks = o.writable === true;
    if (breaks && (pte.writable || !this.#sharers.has(o.old))) return 'changed';
    if (!breaks && this.refusesPinned(o.old)) return 'pinned';
    if (!breaks && this.#sharers.has(o.old)) return 'changed';
    this.memory.u8.copyWithin(o.copy * PAGE_SIZE, o.old * PAGE_SIZE, (o.old + 1) * PAGE_SIZE);
    this.#setPresent(hva, breaks ? { pfn: o.copy, writable: true, cow: false } : { ...pte, pfn: o.copy });
    this.#dropSharer(o.old);
    return undefined;
  }

  /** Both entries must still be the write-protected ones whose bytes were compared. */
  #share(at: { keep: Hva; drop: Hva }, o: { keep: Pfn; drop: Pfn }): Refusal | undefined {
    const [keep, drop] = [this.pte(at.keep), this.pte(at.drop)];
    if (keep?.pfn !== o.keep || drop?.pfn !== o.drop || !keep.cow || !drop.cow) return 'changed';
    if (this.refusesPinned(o.keep) || this.refusesPinned(o.drop)) return 'pinned';
    this.#addSharer(o.keep);
    this.#setPresent(at.drop, { pfn: o.keep, writable: false, cow: true });
    this.#dropSharer(o.drop);
    return undefined;
  }

  #populate(hva: Hva): void {
    const writable = (this.table.get(hvaToPage(hva)) & MAPPING_WRITABLE) !== 0;
    this.#setPresent(hva, { pfn: this.memory.frames.allocate('guest'), writable, cow: false });
    this.#residentPages++;
  }

  #setPresent(hva: Hva, pte: Pte): void {
    const page = hvaToPage(hva);
    this.table.set(page, presentWord(this.table.get(page), pte));
  }

  #clear(range: HvaRange, what: 'frame' | 'mapping'): void {
    this.table.forEach(hvaToPage(range.start), hvaToPage(range.end), (page, word) => {
      this.table.set(page, what === 'mapping' ? 0 : absentWord(word));
      this.#dropFrame(word);
    });
  }

  #dropFrame(word: number): void {
    if ((word & PRESENT) === 0) return;
    this.#residentPages--;
    this.#dropSharer(wordPfn(word));
  }

  #addSharer(pfn: Pfn): void {
    this.memory.frames.get(pfn);
    this.#sharers.set(pfn, (this.#sharers.get(pfn) ?? 1) + 1);
  }

  /** Drops one user of a frame, shared or not. */
  #dropSharer(pfn: Pfn): void {
    const sharers = this.#sharers.get(pfn);
    if (sharers === 2) this.#sharers.delete(pfn);
    else if (sharers !== undefined) this.#sharers.set(pfn, sharers - 1);
    this.memory.frames.put(pfn);
  }

  #present(operation: string, hva: Hva): Pfn {
    const word = this.table.get(hvaToPage(hva));
    if ((word & MAPPED) === 0) throw operatingError('EFAULT', operation, 'has no mapping', { hva });
    if ((word & PRESENT) === 0) throw operatingError('ENOENT', operation, 'has no frame', { hva });
    return wordPfn(word);
  }

  #checkAccess(hva: Hva, o: { write: boolean }): void {
    const word = this.table.get(hvaToPage(hva));
    if ((word & MAPPED) === 0) throw operatingError('EFAULT', 'fault', 'has no mapping', { hva });
    if (o.write && (word & MAPPING_WRITABLE) === 0) throw operatingError('EFAULT', 'fault', 'is read-only', { hva });
  }

  #checkMapped(operation: string, range: HvaRange): void {
    checkRange(operation, range);
    for (let page = hvaToPage(range.start); page < hvaToPage(range.end); page++) {
      if (this.table.get(page) !== 0) continue;
      throw operatingError('ENOMEM', operation, 'has no mapping', { hva: page * PAGE_SIZE });
    }
  }

  #assertUnmapped(range: HvaRange): void {
    this.table.forEach(hvaToPage(range.start), hvaToPage(range.end), (page) => {
      throw operatingError('EEXIST', 'mmap', 'is mapped already', { hva: page * PAGE_SIZE });
    });
  }

  /** The next free place, with an unmapped page before it. */
  #place(pages: number): Hva {
    assert(Number.isSafeInteger(pages), `host mm: mmap of ${pages} pages`);
    let start = this.#nextHva + PAGE_SIZE;
    for (;;) {
      const end = start + pages * PAGE_SIZE;
      if (end > USER_ADDRESS_END) throw operatingError('ENOMEM', 'mmap', 'find no address space', { pages });
      let mappedLast = -1;
      this.table.forEach(hvaToPage(start), hvaToPage(end), (page) => {
        mappedLast = page;
      });
      if (mappedLast === -1) {
        this.#nextHva = end;
        return start as Hva;
      }
      start = (mappedLast + 2) * PAGE_SIZE;
    }
  }
}

function protectedWord(word: number, o: { writable: boolean }): number {
  if (!o.writable) return word & ~(MAPPING_WRITABLE | WRITABLE);
  const storesAllowed = (word & (PRESENT | COW)) === PRESENT;
  return word | MAPPING_WRITABLE | (storesAllowed ? WRITABLE : 0);
}

function busy(operation: string, hva: Hva, pfn: Pfn | undefined): Error {
  return operatingError('EBUSY', operation, 'is pinned or shared', { hva, pfn });
}

function changed(operation: string, hva: Hva): Error {
  return operatingError('EAGAIN', operation, 'changed meanwhile', { hva });
}
