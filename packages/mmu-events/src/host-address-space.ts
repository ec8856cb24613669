import { assert, type HostMemory, type Hva, PAGE_SIZE, type Pfn, type TraceSink } from '@nvmx/guest-memory';
import { mightSleep, type Op, point, sleepPoint } from '@nvmx/sync';
import { operatingError } from './errors.ts';
import { HostPages, type Refusal } from './host-pages.ts';
import { Listeners, type MmuNotifierListener } from './listeners.ts';
import type { Pte } from './page-table.ts';
import {
  checkRange,
  type HvaRange,
  hvaToPage,
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
  readonly #trace: TraceSink | undefined;
  readonly #pages: HostPages;
  readonly #listeners = new Listeners();
  #nextHva = MMAP_BASE;

  constructor(o: { memory: HostMemory; trace?: TraceSink | undefined }) {
    this.memory = o.memory;
    this.#trace = o.trace;
    this.#pages = new HostPages({ memory: o.memory, refusesPinned: (pfn) => this.refusesPinned(pfn) });
  }

  /** Present page-table entries. */
  get residentPages(): number {
    return this.#pages.residentPages;
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
    const taken = this.#pages.mappedPage(range, 'first');
    if (taken !== undefined) throw operatingError('EEXIST', 'mmap', 'is mapped already', { hva: taken });
    this.#pages.map(range, { writable: o.writable ?? true });
    return start;
  }

  /** Removes mappings and their frames. Pages without a mapping are passed over. EINVAL for a bad range. */
  *munmap(range: HvaRange): Op<void> {
    checkRange('munmap', range);
    yield* this.changing({ ...range, mayBlock: true, reason: 'munmap' }, () => this.#pages.clear(range, 'mappings'));
  }

  /** The frame behind `hva` right now, by a present entry. Never faults: the oracle of the tests. */
  translate(hva: Hva): Pfn | undefined {
    return this.#pages.translate(hva);
  }

  /** The present entry of `hva`. Never faults. */
  pte(hva: Hva): Pte | undefined {
    return this.#pages.pte(hva);
  }

  /** The frame behind `hva` if the entry is present and allows the access: `get_user_pages_fast_only()`. Never sleeps. */
  tryFault(hva: Hva, o: { write: boolean }): Pfn | undefined {
    return this.#pages.allowed(hva, o);
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
      if (this.translate(hva) === undefined) this.#pages.populate(hva);
      else yield* this.#breakCopyOnWrite(hva);
    }
  }

  /** MADV_DONTNEED: drops the frames, the next fault finds zeros. A pinned frame lives on with whoever pinned it. */
  *discard(range: HvaRange): Op<void> {
    this.#checkMapped('discard', range);
    yield* this.changing({ ...range, mayBlock: true, reason: 'discard' }, () => this.#pages.clear(range, 'frames'));
  }

  /** The OOM reaper: discards what is there, and may not sleep, nor wait for anyone who does. */
  *reap(range: HvaRange): Op<void> {
    checkRange('reap', range);
    yield* this.changing({ ...range, mayBlock: false, reason: 'reap' }, () => this.#pages.clear(range, 'frames'));
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
    if (this.refusesPinned(old) || this.#pages.isShared(old)) throw busy('migrate', hva, old);
    const copy = this.memory.frames.allocate('guest');
    const event = { ...pageRange(hva), mayBlock: true, reason: 'migrate' } as const;
    const refusal = yield* this.changing(event, () => this.#pages.move(hva, { old, copy }));
    if (refusal === undefined) return copy;
    this.memory.frames.put(copy);
    if (refusal === 'pinned') throw busy('migrate', hva, old);
    throw changed('migrate', hva);
  }

  /** mprotect(). Entries that a store must copy first stay write-protected. ENOMEM when a page has no mapping. */
  *protect(range: HvaRange, o: { writable: boolean }): Op<void> {
    this.#checkMapped('protect', range);
    yield* this.changing({ ...range, mayBlock: true, reason: 'protect' }, () => this.#pages.protect(range, o));
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
    const refusal = yield* this.changing(event, () => this.#pages.share(o, { keep, drop }));
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
    this.#pages.addSharer(old);
    try {
      yield* this.#writeProtect(hva, 'copy-on-write');
      return yield* this.fault(hva, { write: true });
    } finally {
      this.#pages.dropSharer(old);
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
    this.#pages.clearAll();
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
    if (this.#trace !== undefined) this.#trace({ name: 'mmu_notifier_range', ...event });
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
    if (!this.#pages.isShared(old)) {
      this.#pages.reuse(hva, old);
      return;
    }
    const copy = this.memory.frames.allocate('guest');
    const event = { ...pageRange(hva), mayBlock: true, reason: 'copy-on-write' } as const;
    const refusal = yield* this.changing(event, () => this.#pages.breakCow(hva, { old, copy }));
    if (refusal !== undefined) this.memory.frames.put(copy);
  }

  /** Makes the entry read-only, and the next store copy the page. An event only when the entry allowed stores. */
  *#writeProtect(hva: Hva, reason: 'merge' | 'copy-on-write'): Op<void> {
    if (!this.pte(hva)?.writable) return this.#pages.markCow(hva);
    const event = { ...pageRange(hva), mayBlock: true, reason } as const;
    const refusal = yield* this.changing(event, (): Refusal | undefined => {
      const pfn = this.translate(hva);
      if (pfn !== undefined && reason === 'merge' && this.refusesPinned(pfn)) return 'pinned';
      this.#pages.markCow(hva);
      return undefined;
    });
    if (refusal === 'pinned') throw busy(reason, hva, this.translate(hva));
  }

  #present(operation: string, hva: Hva): Pfn {
    const pfn = this.#pages.translate(hva);
    if (pfn !== undefined) return pfn;
    if (this.#pages.mapping(hva) === 'none') throw operatingError('EFAULT', operation, 'has no mapping', { hva });
    throw operatingError('ENOENT', operation, 'has no frame', { hva });
  }

  #checkAccess(hva: Hva, o: { write: boolean }): void {
    const mapping = this.#pages.mapping(hva);
    if (mapping === 'none') throw operatingError('EFAULT', 'fault', 'has no mapping', { hva });
    if (o.write && mapping === 'read-only') throw operatingError('EFAULT', 'fault', 'is read-only', { hva });
  }

  #checkMapped(operation: string, range: HvaRange): void {
    checkRange(operation, range);
    for (let page = hvaToPage(range.start); page < hvaToPage(range.end); page++) {
      const hva = (page * PAGE_SIZE) as Hva;
      if (this.#pages.mapping(hva) === 'none') throw operatingError('ENOMEM', operation, 'has no mapping', { hva });
    }
  }

  /** The next free place, with an unmapped page before it. */
  #place(pages: number): Hva {
    assert(Number.isSafeInteger(pages), `host mm: mmap of ${pages} pages`);
    let start = this.#nextHva + PAGE_SIZE;
    for (;;) {
      const end = start + pages * PAGE_SIZE;
      if (end > USER_ADDRESS_END) throw operatingError('ENOMEM', 'mmap', 'find no address space', { pages });
      const taken = this.#pages.mappedPage({ start: start as Hva, end: end as Hva }, 'last');
      if (taken === undefined) {
        this.#nextHva = end;
        return start as Hva;
      }
      start = taken + 2 * PAGE_SIZE;
    }
  }
}

function busy(operation: string, hva: Hva, pfn: Pfn | undefined): Error {
  return operatingError('EBUSY', operation, 'is pinned or shared', { hva, pfn });
}

function changed(operation: string, hva: Hva): Error {
  return operatingError('EAGAIN', operation, 'changed meanwhile', { hva });
}
