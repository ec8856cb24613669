import type { OperatingError, Pfn } from '@nvmx/guest-memory';

/**
 * How activate() or refresh() ended. `EINVAL`: the address is none, the range crosses a page, or the cache is inactive.
 * `EFAULT`: no memslot, no host mapping, no permission, or the page could not be had or mapped; `cause` is what the host
 * said, if it said something. `EIO`: a cache that was valid without being active, which is a bug of its owner.
 *
 * `pfn` and `stamp` belong together: they were read under the lock that published them. A notifier may have taken the
 * page away again by the time the caller looks, and then `isCurrent(stamp)` is false.
 */
export type RefreshOutcome =
  | { readonly ok: true; readonly pfn: Pfn; readonly stamp: number }
  | { readonly ok: false; readonly code: RefreshError; readonly cause?: OperatingError };

/** The errno of a failure. */
export type RefreshError = 'EINVAL' | 'EFAULT' | 'EIO';

export const inactive: RefreshOutcome = { ok: false, code: 'EINVAL' };
export const rangeCrossesPage: RefreshOutcome = { ok: false, code: 'EINVAL' };
export const badAddress: RefreshOutcome = { ok: false, code: 'EINVAL' };
export const noMemslot: RefreshOutcome = { ok: false, code: 'EFAULT' };
export const validWhileInactive: RefreshOutcome = { ok: false, code: 'EIO' };
