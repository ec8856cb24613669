import { assert, type Gfn } from '@nvmx/guest-memory';

/** What everybody may know of the invalidations of a VM: its `mmu_invalidate_*` and `mn_*` counters. */
export interface NotifierState {
  /** `mmu_invalidate_seq`: steps at the end of each invalidation that overlapped a memslot (N6). Never wraps. */
  readonly sequence: number;
  /** `mmu_invalidate_in_progress`: invalidations between N4 and N6. Those that overlap no memslot are not counted. */
  readonly inProgress: number;
  /** `mn_active_invalidate_count`: all invalidations between N1 and N7, for any address. */
  readonly activeCount: number;
  /** The union of the guest frames of all invalidations since `inProgress` was last 0, [start, end); else undefined. */
  readonly range: { readonly start: Gfn; readonly end: Gfn } | undefined;
  /**
   * `mmu_invalidate_retry_gfn()`: whether a frame that was resolved after `sequence` was read may be stale. Exact under
   * the mmu_lock; without it only a hint, wrong in either direction.
   */
  retry(o: { sequence: number; gfn: Gfn }): boolean;
}

/** The counters as the notifier protocol moves them. Each transition asserts that it may happen. */
export class InvalidationState implements NotifierState {
  #sequence = 0;
  #inProgress = 0;
  #activeCount = 0;
  #rangeStart = 0;
  #rangeEnd = 0;
  #rangeValid = false;

  get sequence(): number {
    return this.#sequence;
  }

  get inProgress(): number {
    return this.#inProgress;
  }

  get activeCount(): number {
    return this.#activeCount;
  }

  get range(): { readonly start: Gfn; readonly end: Gfn } | undefined {
    if (this.#inProgress === 0 || !this.#rangeValid) return undefined;
    return { start: this.#rangeStart as Gfn, end: this.#rangeEnd as Gfn };
  }

  retry(o: { sequence: number; gfn: Gfn }): boolean {
    return this.retryInProgress(o.gfn) || this.#sequence !== o.sequence;
  }

  /** The first half of the rule: an invalidation is under way, of that frame or of a range that is not known yet. */
  protected retryInProgress(gfn: Gfn): boolean {
    if (this.#inProgress === 0) return false;
    return !this.#rangeValid || (gfn >= this.#rangeStart && gfn < this.#rangeEnd);
  }

  /** N1. */
  raiseActiveCount(): void {
    this.#activeCount = successor(this.#activeCount);
  }

  /** N7. */
  lowerActiveCount(): void {
    assert(this.#activeCount > 0, 'notifier: more ends than starts: the active count is 0');
    this.#activeCount--;
  }

  /** N4, under the mmu_lock: the first of several starts a new union. */
  begin(): void {
    this.#inProgress = successor(this.#inProgress);
    if (this.#inProgress === 1) this.#rangeValid = false;
  }

  /** N4: adds the frames of one slot to the union. */
  addRange(start: Gfn, end: Gfn): void {
    assert(this.#inProgress > 0 && start < end, 'notifier: a range outside of an invalidation, or an empty one');
    this.#rangeStart = this.#rangeValid ? Math.min(this.#rangeStart, start) : start;
    this.#rangeEnd = this.#rangeValid ? Math.max(this.#rangeEnd, end) : end;
    this.#rangeValid = true;
  }

  /** N6: the sequence steps before the invalidation counts as over. */
  stepSequence(): void {
    this.#sequence = this.nextSequence(this.#sequence);
  }

  /** N6. */
  end(): void {
    assert(this.#inProgress > 0, 'notifier: an end without a start: in_progress would go below 0');
    this.#inProgress--;
  }

  /** Teardown cut an event between its start and its end. */
  forgetActive(): void {
    this.#activeCount = 0;
  }

  protected nextSequence(sequence: number): number {
    return successor(sequence);
  }
}

function successor(count: number): number {
  assert(count < Number.MAX_SAFE_INTEGER, 'notifier: a counter must never wrap');
  return count + 1;
}
