import type { Gpa, PageView, Pfn } from '@nvmx/guest-memory';
import type { Op } from '@nvmx/sync';

/** Which of L1's pages: the five that L0 reaches on a nested entry or exit. */
export type PageRole = 'msr-bitmap' | 'apic-access' | 'virtual-apic' | 'pi-desc' | 'evmcs';

/** What a page is wanted for. Fixed for the life of a HeldPage. */
export interface PageRequest {
  readonly role: PageRole;
  /** Who uses the page, and who is kicked when it goes away under hardware. */
  readonly vcpu: number;
  /** `write` fails on a read-only memslot, and breaks copy-on-write. */
  readonly access: 'read' | 'write';
  /** Whether the pfn goes into vmcs02, so that hardware uses the page outside of every lock. */
  readonly usedByHardware: boolean;
}

/** What a backend did so far. Plain counters: reset them by assignment, compare them by difference. */
export interface BackendStatistics {
  /** Pages made reachable: kmap() or memremap(). */
  maps: number;
  /** Pages made unreachable. Equals `maps` once the backend is closed. */
  unmaps: number;
  /** Times the backend asked whether what it holds is still right. */
  checks: number;
  /** Times it had to find the page anew. */
  refreshes: number;
  /** Times the notifier took a held page away. */
  invalidations: number;
}

/**
 * `EINVAL`: the page cannot be held this way (no memslot for a map that follows the pfn; a frame that cannot be pinned).
 * `EFAULT`: no memslot, no host page, or a write to a read-only slot. `EIO`: the backend is broken or closed.
 */
export type HoldOutcome = { readonly ok: true } | { readonly ok: false; readonly code: 'EINVAL' | 'EFAULT' | 'EIO' };

/**
 * The way in which L0 reaches L1's pages. One backend serves one VM. What a backend promises beyond this text is named in
 * the options of `pageBackendContract()`, and tested in either direction.
 */
export interface PageBackend {
  /** For people: `host-map`, `pfncache`. */
  readonly name: string;
  readonly statistics: BackendStatistics;
  /** A page with nothing held. Cheap: nothing is mapped. Close it by `deactivate()`, or with the backend. */
  openPage(request: PageRequest): HeldPage;
  /** Sets who is told of L0's accesses; undefined: nobody, at the price of one branch. */
  observe(observer: AccessObserver | undefined): void;
  /** Deactivates every page, so that maps and unmaps balance. Every later hold fails with EIO. Idempotent. */
  close(): Op<void>;
}

/**
 * One page of L1 for one role and one vCPU. One owner: never shared between contexts.
 *
 * An L2 entry calls `tryHold()`, or `hold()` when that says no, writes `pfn` into vmcs02 and remembers `stamp()` beside it.
 * Before hardware runs, `isCurrent(stamp)` says whether what was written may still be used. L0's own accesses go between
 * `beginUse()` and `endUse()`. The L2 exit calls `release()`.
 */
export interface HeldPage {
  readonly request: PageRequest;
  /** What the last successful hold was for, page offset included; undefined when nothing is held. */
  readonly gpa: Gpa | undefined;
  /** Holds the page of `gpa` if that takes no sleep: true is a hit, and the page is current. False changes nothing. */
  tryHold(gpa: Gpa): boolean;
  /**
   * Holds the page that contains `gpa`, in place of what was held. May sleep, fault and map. After a failure nothing is
   * held, and hardware must not use what was programmed before.
   *
   * A host without a frame, or L0 without room for a mapping, fails the hold like the rest: with a code, or by throwing
   * OperatingError ENOMEM, as the backend promises (`outOfMemory`).
   */
  hold(gpa: Gpa): Op<HoldOutcome>;
  /** The frame of the last successful hold. Asserts that there was one and that it was not given up. */
  readonly pfn: Pfn;
  /**
   * Names what `pfn` was read from: remember it together with what was programmed. Never 0, and never used again for
   * another frame by this page.
   */
  stamp(): number;
  /**
   * Whether hardware may still use what was programmed under the stamp. Never sleeps. True says: the page is held, and as
   * far as this backend promises currency, pfn is the current frame of gpa and nothing was re-resolved since the stamp.
   */
  isCurrent(stamp: number): boolean;
  /**
   * Lock and check: true starts a use, and `view` shows the page until `endUse()`. False: not held, or no longer right; hold
   * again. Plain and atomic, so nothing may sleep inside. Uses do not nest.
   */
  beginUse(): boolean;
  /** The bytes of the whole page. Only between beginUse() and endUse(): asserted. */
  readonly view: PageView;
  /** Ends the use. `wrote` marks the page dirty under the same lock that allowed the write. Asserts a use. */
  endUse(o?: { wrote: boolean }): void;
  /**
   * The end of one L2 run. `dirty` says that hardware, or an unmarked use, may have written the page. A map-per-entry
   * backend unmaps here; a cache keeps the page. Without a held page it does nothing.
   */
  release(o: { dirty: boolean }): void;
  /** VMCLEAR, VMXOFF, or unused by vmcs12: gives everything up. A later hold starts anew. Idempotent. */
  deactivate(): Op<void>;
}

/** Sees each access of L0 to a held page: the stale-access audit. */
export interface AccessObserver {
  /** Called at each beginUse() that returns true, with the page of the hold and the frame that the view shows. */
  l0Access(page: HeldPage, gpa: Gpa, pfn: Pfn): void;
}
