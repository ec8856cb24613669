import { assert, type Gfn, PAGE_SIZE, type TraceSink } from '@nvmx/guest-memory';
import { type Op, point, RwLock, SpinLock, Srcu, WaitQueue } from '@nvmx/sync';
import { InvalidationState, type NotifierState } from './invalidation-state.ts';
import type { MmuNotifierListener } from './listeners.ts';
import type { Memslot } from './memslot.ts';
import { GFN_END, type Memslots } from './memslots.ts';
import type { RangeEvent } from './range.ts';
import { type RangeCache, RangeCaches, standsIn } from './range-caches.ts';
import type { SecondaryMmu } from './secondary-mmu.ts';

/** N4 and N6 read the published memslots. Partner: M3, which publishes only while no invalidation is active. */
const readMemslots = point('notifier: before reading the memslots');

/**
 * The MMU notifier's half of `struct kvm`: steps N1 .. N7 and the rule of the page-fault retry.
 *
 * Lock order, outer first: slots_lock, slots_arch_lock, mn_invalidate_lock; gpc_lock, then a cache's own lock; srcu, then
 * mmu_lock. Never the mmu_lock together with a cache's lock. A listener is called inside mmu_notifier_srcu and takes
 * neither slots_lock nor slots_arch_lock, since their holder waits for the listeners.
 */
export abstract class NotifierProtocol implements MmuNotifierListener {
  /** Guards readers of the memslots. A vCPU holds it whenever it runs in L0. */
  readonly srcu = new Srcu('srcu');
  /** Guards secondary MMUs and the `mmu_invalidate_*` state. Nothing yields under it here. */
  readonly mmuLock = new RwLock('mmu_lock');
  protected readonly invalidations: InvalidationState;
  protected readonly invalidateLock = new SpinLock('mn_invalidate_lock');
  protected readonly updateWait = new WaitQueue('mn_memslots_update_rcuwait');
  protected readonly cacheLock = new SpinLock('gpc_lock');
  protected readonly caches = new RangeCaches();
  protected readonly secondaryMmus: SecondaryMmu[] = [];
  protected readonly trace: TraceSink | undefined;

  constructor(o: { trace?: TraceSink | undefined }) {
    this.trace = o.trace;
    this.invalidations = this.createInvalidationState();
  }

  /** The counters of the invalidations. */
  get notifier(): NotifierState {
    return this.invalidations;
  }

  /** The published snapshot. */
  abstract get memslots(): Memslots;

  /**
   * Puts the cache on the list. Do it before the cache may become valid, so that no invalidation can miss it. Unlike
   * kvm_gpc_activate(): no lock is taken, since the walk works on hits that it collected in one step.
   */
  registerCache(cache: RangeCache): void {
    this.caches.add(cache);
  }

  /** Takes the cache off the list. Do it after the cache has become invalid for good. Asserts that it is on the list. */
  unregisterCache(cache: RangeCache): void {
    this.caches.remove(cache);
  }

  /**
   * Call whenever `hvaPage()` of a registered cache has changed, while the cache is invalid and before it resolves its
   * frame: the list is sorted by page, and the walk finds a cache only where it was last seen.
   */
  cacheMoved(cache: RangeCache): void {
    this.caches.move(cache);
  }

  /** Adds a holder of translations: zapped at N4, M6 and teardown, kicked at N3 and M6. */
  addSecondaryMmu(mmu: SecondaryMmu): void {
    assert(!this.secondaryMmus.includes(mmu), 'notifier: the secondary MMU is added already');
    this.secondaryMmus.push(mmu);
  }

  /** N1 .. N4. On return no cache of the range is valid, and none becomes valid before the end. */
  *invalidateRangeStart(event: RangeEvent): Op<void> {
    const { start, end } = event;
    if (this.trace !== undefined) this.trace({ name: 'kvm_unmap_hva_range', start, end });
    yield* this.raiseActiveCount();
    const hits = yield* this.invalidateCaches(event);
    if (hits.length > 0) yield* this.kickUsers(hits, event);
    yield* this.beginInvalidation(event);
  }

  /** N6, N7. */
  *invalidateRangeEnd(event: RangeEvent): Op<void> {
    yield* this.endInvalidation(event);
    yield* this.lowerActiveCount();
  }

  /** The address space, or this VM, goes away: drops all translations. */
  *release(): Op<void> {
    yield* this.zapSecondaryMmus({ start: 0 as Gfn, end: GFN_END as Gfn });
  }

  /** N1: before any cache is looked at. */
  protected *raiseActiveCount(): Op<void> {
    yield* this.invalidateLock.lock();
    this.invalidations.raiseActiveCount();
    this.invalidateLock.unlock();
  }

  /** N2: invalidates the caches of the range and returns them. */
  protected *invalidateCaches(event: RangeEvent): Op<readonly RangeCache[]> {
    yield* this.cacheLock.lock();
    const found = this.caches.hits(event);
    const hits: RangeCache[] = [];
    for (const cache of found) {
      if (!standsIn(cache, event)) continue;
      yield* cache.invalidateRange(event);
      hits.push(cache);
    }
    this.cacheLock.unlock();
    return hits;
  }

  /** N3: forces the vCPUs whose hardware may use an invalidated cache out of guest mode. */
  protected *kickUsers(hits: readonly RangeCache[], event: RangeEvent): Op<void> {
    for (const mmu of this.secondaryMmus) {
      if (mmu.kick !== undefined && hits.some((cache) => this.mustKick(cache, mmu))) {
        yield* mmu.kick({ mayBlock: event.mayBlock });
      }
    }
  }

  protected mustKick(cache: RangeCache, mmu: SecondaryMmu): boolean {
    if (cache.vcpu === 'none') return false;
    return cache.vcpu === undefined || mmu.vcpu === undefined || cache.vcpu === mmu.vcpu;
  }

  /** N4: the range of guest frames joins the union and is zapped. No slot: neither lock nor counter is touched. */
  protected *beginInvalidation(event: RangeEvent): Op<void> {
    const token = this.srcu.enter();
    yield readMemslots;
    const slots = this.memslots.overlappingHva(event.start, event.end);
    if (slots.length > 0) {
      yield* this.mmuLock.write();
      this.invalidations.begin();
      for (const slot of slots) this.invalidateSlot(slot, event);
      this.mmuLock.endWrite();
    }
    this.srcu.exit(token);
  }

  protected invalidateSlot(slot: Memslot, event: RangeEvent): void {
    const { start, end } = gfnRange(slot, event);
    this.invalidations.addRange(start, end);
    for (const mmu of this.secondaryMmus) mmu.zapGfnRange(start, end);
  }

  /** N6. The memslots are those of N4, because M3 waits. */
  protected *endInvalidation(event: RangeEvent): Op<void> {
    const token = this.srcu.enter();
    yield readMemslots;
    if (this.memslots.overlappingHva(event.start, event.end).length > 0) {
      yield* this.mmuLock.write();
      this.invalidations.stepSequence();
      this.invalidations.end();
      this.mmuLock.endWrite();
    }
    this.srcu.exit(token);
  }

  /** N7: after the sequence, so that a refresh which sees a count of 0 sees the sequence too. */
  protected *lowerActiveCount(): Op<void> {
    yield* this.invalidateLock.lock();
    this.invalidations.lowerActiveCount();
    this.invalidateLock.unlock();
  }

  protected *zapSecondaryMmus(range: { start: Gfn; end: Gfn }): Op<void> {
    yield* this.mmuLock.write();
    for (const mmu of this.secondaryMmus) mmu.zapGfnRange(range.start, range.end);
    this.mmuLock.endWrite();
  }

  protected createInvalidationState(): InvalidationState {
    return new InvalidationState();
  }
}

/** The guest frames of the slot that the event touches. */
function gfnRange(slot: Memslot, event: RangeEvent): { start: Gfn; end: Gfn } {
  const first = Math.max(event.start, slot.hva) - slot.hva;
  const end = Math.min(event.end, slot.endHva) - slot.hva;
  return {
    start: (slot.baseGfn + Math.floor(first / PAGE_SIZE)) as Gfn,
    end: (slot.baseGfn + Math.ceil(end / PAGE_SIZE)) as Gfn,
  };
}
