import {
  assert,
  type Gpa,
  type Hva,
  isAddress,
  type Mapping,
  OperatingError,
  type TraceSink,
} from '@nvmx/guest-memory';
import { type RangeCache, type RangeEvent, USER_ADDRESS_END } from '@nvmx/mmu-events';
import { Mutex, type Op, type SyncPoint } from '@nvmx/sync';
import { CacheState, type PfnCacheOptions } from './cache-state.ts';
import type { InvalidationSnapshot } from './decisions.ts';
import {
  badAddress,
  inactive,
  noMemslot,
  type RefreshOutcome,
  rangeCrossesPage,
  validWhileInactive,
} from './outcome.ts';
import { PageResolver, type ResolvedPage } from './page-resolver.ts';
import * as points from './points.ts';
import { crossesPage, isWithin, pageNumber, type Target } from './translation.ts';

/** The type Gpa lets a range end here; no page begins here. */
const GPA_END = 2 ** 52;

/**
 * One page of guest memory, mapped once and followed: `struct gfn_to_pfn_cache`.
 *
 * Valid implies active, and active implies on the notifier's list. From beginUse() to endUse(), `pfn` and `view` are the
 * host's page of `hva`, and a notifier that wants the page waits. Outside of that nothing is promised but `isCurrent()`,
 * which turns false before an invalidation, a memslot change or a move makes a programmed page wrong.
 *
 * The caller is inside `vm.srcu`, as wherever KVM uses a memslot. It holds no lock that a notifier can need, since a
 * refresh waits for the invalidations that are under way.
 *
 * Lock order, outer first: refreshLock, lock; the notifier's list lock, lock.
 */
export class PfnCache extends CacheState implements RangeCache {
  readonly #trace: TraceSink | undefined;
  readonly #pages: PageResolver;
  /** R10 goes back to R6 as soon as no invalidation is under way: what cond_resched() and a spin come to. */
  readonly #quiet: SyncPoint;
  /** One activate, refresh or deactivate at a time. */
  #refreshLock = new Mutex('gpc.refreshLock');
  #listed = false;
  /** R6 to R10: the cache is not valid, and an invalidation concerns it all the same. */
  #resolving = false;
  #hits = 0;

  /** Makes an inactive cache: `kvm_gpc_init()`. The locks are made here, once. */
  constructor(o: PfnCacheOptions) {
    super(o);
    this.#trace = o.trace;
    this.#pages = new PageResolver({ vm: o.vm, write: this.access === 'write', statistics: this.statistics });
    const { notifier } = o.vm;
    this.#quiet = { name: 'gpc.refresh: retry', kind: 'wait', ready: () => notifier.activeCount === 0 };
  }

  /** On the notifier's list. */
  get listed(): boolean {
    return this.#listed;
  }

  /**
   * Puts the cache on the notifier's list and caches `bytes` at `gpa`: `kvm_gpc_activate()`. Moves an active cache.
   * After `EFAULT` the cache is active and not valid: refresh() tries again.
   */
  *activate(gpa: Gpa, bytes: number): Op<RefreshOutcome> {
    if (!isAddress(gpa) || gpa === GPA_END) return badAddress;
    return yield* this.#serialize((retired) => this.#activate({ gpa }, bytes, retired));
  }

  /** The same for a user address, which no memslot needs to cover: `kvm_gpc_activate_hva()`. */
  *activateHva(hva: Hva, bytes: number): Op<RefreshOutcome> {
    if (!isAddress(hva) || hva + bytes > USER_ADDRESS_END) return badAddress;
    return yield* this.#serialize((retired) => this.#activate({ hva }, bytes, retired));
  }

  /**
   * Makes the cache valid again where it is: `kvm_gpc_refresh()`. May sleep, and waits for invalidations under way.
   * Success says that the page was right when the lock was dropped: beginUse() may fail again.
   */
  *refresh(bytes: number): Op<RefreshOutcome> {
    return yield* this.#serialize((retired) => this.#refresh(undefined, bytes, retired));
  }

  /** Gives the mapping back and takes the cache off the list: `kvm_gpc_deactivate()`. It can be activated again. */
  *deactivate(): Op<void> {
    yield* this.#serialize((retired) => this.#deactivate(retired));
  }

  /** For the notifier's index: the page number of `hva`, or -1. */
  hvaPage(): number {
    return pageNumber(this.hva);
  }

  /**
   * N2. Looks under the read lock first, so that a range that misses the cache disturbs no reader. Unmaps nothing: the
   * old view lives until the next refresh, and nobody may use it.
   */
  *invalidateRange(event: RangeEvent): Op<void> {
    yield* this.lock.read();
    const concerned = this.#concerns(event);
    this.lock.endRead();
    if (!concerned) return;
    yield* this.lock.write();
    if (this.#concerns(event)) this.#invalidate();
    this.lock.endWrite();
  }

  #concerns(event: RangeEvent): boolean {
    return (this.valid || this.#resolving) && isWithin(event, this.hva);
  }

  #invalidate(): void {
    this.#hits++;
    if (!this.valid) return;
    this.setValid(false);
    this.stepEpoch();
    this.statistics.invalidations++;
    this.#trace?.({ name: 'kvm_gpc_invalidate', hva: this.hva, pfn: this.pfn, epoch: this.epoch });
  }

  /** Runs a change under `refreshLock`, and unmaps what it retired when no lock is held any more. */
  *#serialize<T>(change: (retired: Mapping[]) => Op<T>): Op<T> {
    const retired: Mapping[] = [];
    const result = yield* this.refreshMutex() ? this.#withRefreshLock(change(retired)) : change(retired);
    for (const mapping of retired) yield* this.#pages.unmap(mapping);
    return result;
  }

  *#withRefreshLock<T>(change: Op<T>): Op<T> {
    const refreshLock = this.#refreshLock;
    yield* refreshLock.lock();
    try {
      return yield* change;
    } finally {
      refreshLock.unlock();
    }
  }

  *#activate(target: Target, bytes: number, retired: Mapping[]): Op<RefreshOutcome> {
    if (crossesPage(target, bytes)) return rangeCrossesPage;
    if (!this.active) {
      if (this.valid) return validWhileInactive;
      if (this.initOnActivate()) this.#initLocks();
      yield* this.#enlist();
    }
    return yield* this.#refresh(target, bytes, retired);
  }

  *#enlist(): Op<void> {
    if (this.listBeforeActive()) this.#setListed(true);
    yield points.activating;
    yield* this.lock.write();
    this.setActive(true);
    this.lock.endWrite();
    yield points.activated;
    if (!this.#listed) this.#setListed(true);
  }

  #setListed(listed: boolean): void {
    this.#listed = listed;
    if (listed) this.vm.registerCache(this);
    else this.vm.unregisterCache(this);
  }

  /** R2 to R12. Without a target: where the cache is now. */
  *#refresh(moved: Target | undefined, bytes: number, retired: Mapping[]): Op<RefreshOutcome> {
    yield* this.lock.write();
    const result = yield* this.#refreshLocked(moved ?? this.target, bytes, retired);
    this.#trace?.({ name: 'kvm_gpc_refresh', gpa: this.gpa, hva: this.hva, ...result });
    this.lock.endWrite();
    yield points.refreshed;
    return result;
  }

  *#refreshLocked(target: Target | undefined, bytes: number, retired: Mapping[]): Op<RefreshOutcome> {
    if (target === undefined || (!this.active && this.activeFlag())) return inactive;
    if (crossesPage(target, bytes)) return rangeCrossesPage;
    this.statistics.refreshes++;
    const { hva, moved, renamed } = this.translate(target);
    if (this.valid && !moved) {
      this.keep({ renamed });
      return this.#success();
    }
    this.setValid(!this.invalidateBeforeUnlock());
    if (moved && this.#listed) this.vm.cacheMoved(this);
    if (hva === undefined) return this.#fail(noMemslot, retired);
    const page = yield* this.#resolve(hva);
    if (page instanceof OperatingError) return this.#fail({ ok: false, code: 'EFAULT', cause: page }, retired);
    return this.#publish(page, retired);
  }

  /** R6 to R10. Entered and left with the lock held for writing, dropped in between. */
  *#resolve(hva: Hva): Op<ResolvedPage | OperatingError> {
    const kept = this.keepsMappingForSamePfn() ? this.mapping : undefined;
    const stillValid = this.valid;
    let rejected: ResolvedPage | undefined;
    this.#resolving = true;
    for (;;) {
      this.lock.endWrite();
      if (rejected !== undefined) yield* this.#giveWay(rejected);
      const before = this.#snapshot();
      yield points.unlocked;
      const page = yield* this.#pages.resolve(hva, kept);
      yield* this.lock.write();
      assert(stillValid || !this.valid, 'pfncache: somebody else made the cache valid during a refresh');
      if (page instanceof OperatingError || !this.mustRetry(before, this.#snapshot())) {
        this.#resolving = false;
        return page;
      }
      rejected = page;
    }
  }

  /** Between two attempts: gives the page back and waits until no invalidation is under way. Holds no rw lock. */
  *#giveWay(rejected: ResolvedPage): Op<void> {
    yield* this.#pages.discard(rejected);
    yield this.#quiet;
  }

  #snapshot(): InvalidationSnapshot {
    const { activeCount, inProgress, sequence } = this.vm.notifier;
    return { activeCount, inProgress, sequence, hits: this.#hits };
  }

  /** R11. */
  #publish(page: ResolvedPage, retired: Mapping[]): RefreshOutcome {
    const replaced = this.adopt(page);
    if (replaced !== undefined) retired.push(replaced);
    if (page.reused ? this.putOnReuse() : this.putAfterMap()) this.#pages.put(page);
    return this.#success();
  }

  /** R11e. */
  #fail(outcome: RefreshOutcome, retired: Mapping[]): RefreshOutcome {
    this.setValid(false);
    if (this.mapping !== undefined) retired.push(this.mapping);
    if (this.resetPfnOnError()) this.forgetPage();
    return outcome;
  }

  *#deactivate(retired: Mapping[]): Op<void> {
    if (!this.active) return;
    if (!this.inactiveBeforeUnlist()) this.#setListed(false);
    yield points.deactivating;
    yield* this.#setInactive(retired);
    yield points.deactivated;
    if (this.#listed) this.#setListed(false);
    this.#trace?.({ name: 'kvm_gpc_deactivate', gpa: this.gpa, hva: this.hva });
  }

  *#setInactive(retired: Mapping[]): Op<void> {
    yield* this.lock.write();
    this.setActive(false);
    this.setValid(false);
    if (this.mapping !== undefined) retired.push(this.mapping);
    this.forgetPage();
    this.stepEpoch();
    this.lock.endWrite();
  }

  #initLocks(): void {
    this.initLock();
    this.#refreshLock = new Mutex('gpc.refreshLock');
  }

  #success(): RefreshOutcome {
    return { ok: true, pfn: this.pfn!, stamp: this.epoch };
  }
}
