import type { HoldOutcome } from '../page-backend.ts';

/** How a hold fails: with an outcome, or by throwing OperatingError ENOMEM. */
export type HoldFailure = Extract<HoldOutcome, { ok: false }>['code'];

/** What one backend promises where the contract leaves a choice. What is not promised is tested the other way round. */
export interface BackendPromises {
  /**
   * After a host event or a memslot update on the page, `isCurrent()` and `beginUse()` say no until it is held again, and an
   * invalidation waits for a use under way. False: a held page stays as it was, and may so be stale.
   */
  readonly current: boolean;
  /** A page outlives `release()`: the next `tryHold()` is a hit, and holding it again maps nothing. */
  readonly keepsPages: boolean;
  /** While a page of managed memory is held, its frame is pinned, and cannot migrate. */
  readonly pins: boolean;
  /** Where a write of L0 is in the dirty log at the latest: I8 is promised by `end-of-use` alone. */
  readonly dirtyLogged: 'end-of-use' | 'release';
  readonly failures: {
    readonly noMemslot: HoldFailure;
    /** A memslot with nothing mapped at its host address. */
    readonly noHostPage: HoldFailure;
    /** Write access to a read-only memslot. */
    readonly readOnlySlot: HoldFailure;
    /** The host has no frame, or L0 no room for a mapping. */
    readonly outOfMemory: HoldFailure | 'throws ENOMEM';
  };
}

/** Every promise that a backend can give, and KVM's errno of `gfn_to_pfn_cache` for each failure. */
export const allPromises: BackendPromises = {
  current: true,
  keepsPages: true,
  pins: false,
  dirtyLogged: 'end-of-use',
  failures: { noMemslot: 'EFAULT', noHostPage: 'EFAULT', readOnlySlot: 'EFAULT', outOfMemory: 'EFAULT' },
};

/** The promises that differ from `allPromises`. */
export type PromiseOptions = Partial<Omit<BackendPromises, 'failures'>> & {
  readonly failures?: Partial<BackendPromises['failures']>;
};

/** All promises of a backend that names only what differs. */
export function completePromises(options: PromiseOptions): BackendPromises {
  return { ...allPromises, ...options, failures: { ...allPromises.failures, ...options.failures } };
}
