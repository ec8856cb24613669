/** What a refresh remembers of the notifier before it looks at the page tables, and compares after. */
export interface InvalidationSnapshot {
  /** Invalidations of the VM between start and end, for any address: `mn_active_invalidate_count`. */
  readonly activeCount: number;
  /** Those among them that overlap a memslot and have reached their zap: `mmu_invalidate_in_progress`. */
  readonly inProgress: number;
  /** Invalidations of memslots that have ended: `mmu_invalidate_seq`. */
  readonly sequence: number;
  /** Invalidations that met this cache, and no other, while a refresh was under way. */
  readonly hits: number;
}

/**
 * The decisions of the protocol, each a method of its own that answers the right thing. A known-bad variant is a
 * subclass that overrides one of them; the ids are those of the bugs that gave the decision its name.
 */
export abstract class Decisions {
  /** GPC-01a: R5 clears `valid` before the lock is dropped, so that nobody uses the old page during the refresh. */
  protected invalidateBeforeUnlock(): boolean {
    return true;
  }

  /**
   * GPC-01b: whether what R7 read may be gone by R10.
   *
   * The first two tests are those of KVM. An invalidation that overlaps no memslot moves neither `sequence` nor
   * `inProgress`, so for a cache by hva they miss one that begins and ends between R6 and R9. The last two catch it: it
   * either was under way at R6, or its walk met this cache.
   */
  protected mustRetry(before: InvalidationSnapshot, after: InvalidationSnapshot): boolean {
    if (after.activeCount !== 0 || after.sequence !== before.sequence) return true;
    return before.activeCount !== 0 || after.hits !== before.hits;
  }

  /** GPC-02: one activate, refresh or deactivate at a time. */
  protected refreshMutex(): boolean {
    return true;
  }

  /** GPC-03: after an error nothing is left that a later refresh would give back a second time. */
  protected resetPfnOnError(): boolean {
    return true;
  }

  /** GPC-04: the reference of R7 is dropped at R11 also when the old mapping is reused. */
  protected putOnReuse(): boolean {
    return true;
  }

  /** GPC-07: a valid cache keeps no reference to its page: the notifier protects it, and the page can migrate. */
  protected putAfterMap(): boolean {
    return true;
  }

  /** GPC-06: what counts as a move is another page, not another offset in the page. */
  protected comparesHvaPages(): boolean {
    return true;
  }

  /** GPC-08: whether activation makes new locks. They live as long as the cache: somebody may hold the old ones. */
  protected initOnActivate(): boolean {
    return false;
  }

  /** GPC-09: an inactive cache, which no notifier finds, is neither refreshed nor used. */
  protected activeFlag(): boolean {
    return true;
  }

  /** GPC-09: the notifier can find the cache before a refresh may map anything. */
  protected listBeforeActive(): boolean {
    return true;
  }

  /** GPC-09: the cache stops being usable before the notifier stops finding it. */
  protected inactiveBeforeUnlist(): boolean {
    return true;
  }

  /** GPC-10: the offset follows the address within the page, when nothing else changes. */
  protected fixOffset(): boolean {
    return true;
  }

  /** GPC-11: a refresh that finds the same frame keeps its mapping. */
  protected keepsMappingForSamePfn(): boolean {
    return true;
  }

  /** Each invalidation and each publication gets a new epoch, so that what was programmed before is not current again. */
  protected stepsEpoch(): boolean {
    return true;
  }
}
