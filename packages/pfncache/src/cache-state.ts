import {
  assert,
  type Gpa,
  gpaToGfn,
  type Hva,
  type Mapping,
  PAGE_SIZE,
  PageView,
  type Pfn,
  pageOffset,
  type TraceSink,
} from '@nvmx/guest-memory';
import type { BackendStatistics, VmMemory } from '@nvmx/mmu-events';
import { RwLock } from '@nvmx/sync';
import { Decisions } from './decisions.ts';
import type { ResolvedPage } from './page-resolver.ts';
import { pageNumber, type Target, Translation } from './translation.ts';

/** Whose page is cached, for what access, and for whom. */
export interface PfnCacheOptions {
  readonly vm: VmMemory;
  /** `read` takes no write permission: a page of a read-only memslot can be cached, and sharing is not broken up. */
  readonly access?: 'read' | 'write';
  /** Whose hardware may use the frame, so that the notifier kicks it. `'none'`, the default: L0 alone uses it. */
  readonly vcpu?: number | 'none';
  /** Counters to add to, often shared with other caches. */
  readonly statistics?: BackendStatistics;
  readonly trace?: TraceSink | undefined;
}

const UNUSABLE = -1;
const ALWAYS_USABLE = -2;

/**
 * What a cache knows, what its readers may do with that, and the few ways in which it changes. The steps that make it
 * change, and their order, are in PfnCache.
 */
export abstract class CacheState extends Decisions {
  // `declare` leaves no empty field behind that the engine would have to expect: it saves a tenth of a hit.
  declare readonly access: 'read' | 'write';
  declare readonly vcpu: number | 'none';
  declare readonly statistics: BackendStatistics;
  declare protected readonly vm: VmMemory;
  declare private currentView: PageView;
  readonly #translation: Translation;
  readonly #nowhere: PageView;
  /** Partners: readers, and the notifier as a writer. Protects everything below. */
  #lock = new RwLock('gpc.lock');
  #active = false;
  #valid = false;
  #epoch = 0;
  #pfn: Pfn | undefined;
  #mapping: Mapping | undefined;
  /** Of the address in its page: `view` begins at the page. */
  #offset = 0;
  /**
   * What a hit compares with the tag of the published memslots: that of the translation while the cache is valid and
   * active, else UNUSABLE; a cache by hva needs no memslots. The first field to change when the page is taken away and
   * the last when it is published, so that it can be read without the lock. A number, so that a hit compares numbers.
   */
  #usableTag = UNUSABLE;

  constructor(o: PfnCacheOptions) {
    super();
    this.vm = o.vm;
    this.access = o.access ?? 'write';
    this.vcpu = o.vcpu ?? 'none';
    this.statistics = o.statistics ?? { maps: 0, unmaps: 0, checks: 0, refreshes: 0, invalidations: 0 };
    this.#translation = new Translation({ vm: o.vm, write: this.access === 'write' });
    this.#nowhere = new PageView(o.vm.memory, 0, 0);
    this.currentView = this.#nowhere;
  }

  /** On the notifier's list, and allowed to be refreshed. */
  get active(): boolean {
    return this.#active;
  }

  /** `pfn` and `view` are the page of `hva`. Says nothing on the memslots: see check(). */
  get valid(): boolean {
    return this.#valid;
  }

  /** The memslots' tag that the translation from gpa to hva was taken from. Undefined for a cache by hva. */
  get generation(): number | undefined {
    return this.#translation.memslots?.tag;
  }

  /** Steps with each invalidation, and with each publication of a page. Never repeats. */
  get epoch(): number {
    return this.#epoch;
  }

  /** The address asked for, with its offset in the page. Undefined for a cache by hva. */
  get gpa(): Gpa | undefined {
    return this.#translation.gpa;
  }

  /** The user address of it, with the same offset. Undefined while nothing backs it. */
  get hva(): Hva | undefined {
    return this.#translation.hva;
  }

  get pfn(): Pfn | undefined {
    return this.#pfn;
  }

  /** The whole page; the address asked for is at `offset`. Of length 0 while nothing is mapped. Asserts the lock. */
  get view(): PageView {
    if (this.#lock.readers === 0) this.#assertWriting();
    return this.currentView;
  }

  get offset(): number {
    return this.#offset;
  }

  /** For readers that hold it over several accesses. beginUse() and endUse() are the short form. */
  get lock(): RwLock {
    return this.#lock;
  }

  /**
   * Whether `bytes` from the address on can be used now: `kvm_gpc_check()`. The caller holds `lock`.
   *
   * Never sleeps, allocates nothing. Compares no address: whoever can move the cache compares `gpa`.
   */
  check(bytes: number): boolean {
    return this.#offset + bytes <= PAGE_SIZE && this.isUsable();
  }

  /**
   * Takes the lock for reading and checks, for the bytes that activate() or refresh() was asked for. True: `view` is right
   * until endUse(). False: nothing is held, and refresh() says why. False also while a writer has or awaits the lock, who
   * is about to change the answer.
   */
  beginUse(): boolean {
    if (!this.#lock.tryRead()) return false;
    if (this.isUsable()) return true;
    this.#lock.endRead();
    return false;
  }

  /** Ends a beginUse() that returned true; `wrote` marks the page dirty under the lock that allowed the write. */
  endUse(o?: { wrote: boolean }): void {
    if (o?.wrote) this.markDirty();
    this.#lock.endRead();
  }

  /** `mark_page_dirty_in_slot()`. The caller holds `lock`, and `vm.srcu`. A cache by hva has no memslot to mark in. */
  markDirty(): void {
    if (this.#lock.readers === 0) this.#assertWriting();
    assert(this.access === 'write', 'pfncache: a cache for reading was written through');
    const { gpa, memslot } = this.#translation;
    if (gpa !== undefined && memslot !== undefined) this.vm.markDirtyInSlot(memslot, gpaToGfn(gpa));
  }

  /**
   * Whether the page is valid, active and translated by the published memslots, at the moment of the call. With the lock
   * held it stays so; without, it is for those who compare a stamp, or take the lock next.
   */
  isUsable(): boolean {
    this.statistics.checks++;
    if (this.#usableTag === this.vm.memslots.tag) return true;
    return this.#usableTag === ALWAYS_USABLE;
  }

  /**
   * Names what `pfn` stands for now. Another one after everything that can make a programmed address wrong: an
   * invalidation, another page or another life of the frame, other memslots, another address.
   */
  stamp(): number {
    return this.#epoch;
  }

  /**
   * Whether hardware may still use what was programmed under `stamp`. Never sleeps, takes no lock.
   *
   * Unlike the entry test of the v4 series: compares with what was programmed, so that nobody who validates the cache
   * again hides that it holds another page now. The order of the two reads matters: an epoch that is still `stamp` after
   * the page was seen usable has been `stamp` all the while.
   */
  isCurrent(stamp: number): boolean {
    return this.isUsable() && this.#epoch === stamp;
  }

  protected get mapping(): Mapping | undefined {
    return this.#mapping;
  }

  protected get target(): Target | undefined {
    return this.#translation.target;
  }

  protected initLock(): void {
    this.#lock = new RwLock('gpc.lock');
  }

  protected setActive(active: boolean): void {
    this.#active = active;
    this.#settle();
  }

  protected setValid(valid: boolean): void {
    this.#valid = valid;
    this.#settle();
  }

  protected stepEpoch(): void {
    if (this.stepsEpoch()) this.#epoch++;
  }

  /** R3. `renamed`: the translation was made anew, so that an older stamp does not stand for it. Then keep() or setValid(). */
  protected translate(target: Target): { renamed: boolean; hva: Hva | undefined; moved: boolean } {
    const before = this.#translation.hva;
    const renamed = this.#translation.moveTo(target);
    const { hva } = this.#translation;
    const moved = this.comparesHvaPages() ? pageNumber(before) !== pageNumber(hva) : before !== hva;
    return { renamed, hva, moved };
  }

  /** R4: the page stays, under another name or at another offset. */
  protected keep(o: { renamed: boolean }): void {
    if (this.fixOffset()) this.#followOffset();
    if (o.renamed) this.stepEpoch();
    this.#settle();
  }

  /** R11. Returns the mapping that is not used any more. */
  protected adopt(page: ResolvedPage): Mapping | undefined {
    const retired = page.reused ? undefined : this.#mapping;
    this.#pfn = page.pfn;
    this.#mapping = page.mapping;
    this.currentView = page.mapping.view;
    this.#followOffset();
    this.stepEpoch();
    this.setValid(true);
    return retired;
  }

  protected forgetPage(): void {
    this.#pfn = undefined;
    this.#mapping = undefined;
    this.currentView = this.#nowhere;
  }

  #followOffset(): void {
    this.#offset = pageOffset(this.#translation.hva!);
  }

  /** A call of its own, so that readers do not pay for the assertion. */
  #assertWriting(): void {
    assert(this.#lock.writing, 'pfncache: the page is used without the lock');
  }

  #settle(): void {
    const usable = this.#valid && (this.#active || !this.activeFlag());
    const { memslots } = this.#translation;
    if (!usable) this.#usableTag = UNUSABLE;
    else this.#usableTag = memslots === undefined ? ALWAYS_USABLE : memslots.tag;
  }
}
