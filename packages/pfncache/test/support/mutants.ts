import { type InvalidationSnapshot, PfnCache } from '../../src/index.ts';

/** Known-bad caches: each overrides one decision. */
export class ValidDuringRefresh extends PfnCache {
  protected override invalidateBeforeUnlock(): boolean {
    return false;
  }
}

export class RetriesOnInProgress extends PfnCache {
  protected override mustRetry(before: InvalidationSnapshot, after: InvalidationSnapshot): boolean {
    return after.inProgress !== 0 || after.sequence !== before.sequence;
  }
}

export class RetriesOnSequenceAlone extends PfnCache {
  protected override mustRetry(before: InvalidationSnapshot, after: InvalidationSnapshot): boolean {
    return after.sequence !== before.sequence;
  }
}

/** The two tests of kvm_gpc_refresh(), without the caller's SRCU section and for any hva. */
export class RetriesAsKvm extends PfnCache {
  protected override mustRetry(before: InvalidationSnapshot, after: InvalidationSnapshot): boolean {
    return after.activeCount !== 0 || after.sequence !== before.sequence;
  }
}

export class ForgetsWhatWasUnderWay extends PfnCache {
  protected override mustRetry(before: InvalidationSnapshot, after: InvalidationSnapshot): boolean {
    return after.activeCount !== 0 || after.sequence !== before.sequence || after.hits !== before.hits;
  }
}

export class WithoutRefreshMutex extends PfnCache {
  protected override refreshMutex(): boolean {
    return false;
  }
}

export class KeepsPageOnError extends PfnCache {
  protected override resetPfnOnError(): boolean {
    return false;
  }
}

export class KeepsReferenceOnReuse extends PfnCache {
  protected override putOnReuse(): boolean {
    return false;
  }
}

export class KeepsReference extends PfnCache {
  protected override putAfterMap(): boolean {
    return false;
  }
}

export class ComparesWholeHva extends PfnCache {
  protected override comparesHvaPages(): boolean {
    return false;
  }
}

export class MakesNewLocks extends PfnCache {
  protected override initOnActivate(): boolean {
    return true;
  }
}

export class WithoutActiveFlag extends PfnCache {
  protected override activeFlag(): boolean {
    return false;
  }
}

export class ActiveBeforeListed extends PfnCache {
  protected override listBeforeActive(): boolean {
    return false;
  }
}

export class UnlistedBeforeInactive extends PfnCache {
  protected override inactiveBeforeUnlist(): boolean {
    return false;
  }
}

export class KeepsOffset extends PfnCache {
  protected override fixOffset(): boolean {
    return false;
  }
}

export class AlwaysMapsAnew extends PfnCache {
  protected override keepsMappingForSamePfn(): boolean {
    return false;
  }
}

export class WithoutEpoch extends PfnCache {
  protected override stepsEpoch(): boolean {
    return false;
  }
}
