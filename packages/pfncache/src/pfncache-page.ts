import { assert, type Gpa, gpaToGfn, PAGE_SIZE, type PageView, type Pfn, pageStart } from '@nvmx/guest-memory';
import type { AccessObserver, HeldPage, HoldOutcome, PageRequest, VmMemory } from '@nvmx/mmu-events';
import type { Op } from '@nvmx/sync';
import type { PfnCache } from './pfn-cache.ts';

/** What a page shares with its backend. */
export interface PageContext {
  readonly vm: VmMemory;
  /** Pages that may hold something. */
  readonly open: Set<PfncachePage>;
  observer: AccessObserver | undefined;
  closed: boolean;
}

/** One page of one vCPU, in a cache that nobody else uses. */
export class PfncachePage implements HeldPage {
  declare readonly request: PageRequest;
  declare readonly cache: PfnCache;
  /** The backend's, as long as the page is in `context.open`: a copy, so that a use costs one branch. */
  observer: AccessObserver | undefined;
  readonly #context: PageContext;
  /** The gpa of the last successful hold, or -1: a number always, so that a hit compares numbers and nothing else. */
  #gpa = NO_GPA;
  #pfn: Pfn | undefined;
  #stamp = -1;

  constructor(o: { request: PageRequest; cache: PfnCache; context: PageContext }) {
    this.request = o.request;
    this.cache = o.cache;
    this.#context = o.context;
  }

  get gpa(): Gpa | undefined {
    return this.#gpa === NO_GPA ? undefined : (this.#gpa as Gpa);
  }

  get pfn(): Pfn {
    assert(this.#pfn !== undefined, 'pfncache: pfn of a page that is not held');
    return this.#pfn;
  }

  get view(): PageView {
    return this.cache.view;
  }

  tryHold(gpa: Gpa): boolean {
    return this.comparesGpa(gpa) && this.cache.isUsable();
  }

  *hold(gpa: Gpa): Op<HoldOutcome> {
    if (this.#context.closed) return closed;
    if (this.tryHold(gpa)) return held;
    this.#forget();
    this.#context.open.add(this);
    this.observer = this.#context.observer;
    const outcome = yield* this.cache.activate(pageStart(gpa), PAGE_SIZE);
    if (!outcome.ok || this.#context.closed) {
      yield* this.deactivate();
      return outcome.ok ? closed : { ok: false, code: outcome.code };
    }
    this.#gpa = gpa;
    this.#pfn = outcome.pfn;
    this.#stamp = outcome.stamp;
    return held;
  }

  stamp(): number {
    return this.#stamp;
  }

  isCurrent(stamp: number): boolean {
    return this.cache.isCurrent(stamp);
  }

  beginUse(): boolean {
    if (!this.cache.beginUse()) return false;
    if (this.observer !== undefined) this.#tell(this.observer);
    return true;
  }

  endUse(o?: { wrote: boolean }): void {
    this.cache.endUse(o);
  }

  /**
   * Keeps the page. What hardware wrote is marked dirty by gfn, in the memslots of now: those of the hold may be gone.
   */
  release(o: { dirty: boolean }): void {
    const { gpa } = this;
    if (o.dirty && gpa !== undefined) this.#context.vm.markDirty(gpaToGfn(gpa));
  }

  *deactivate(): Op<void> {
    this.#forget();
    yield* this.cache.deactivate();
    this.#context.open.delete(this);
  }

  /** GPC-22: a hit is a hit for one address only. Another offset in the page is a miss that hold() settles cheaply. */
  protected comparesGpa(gpa: Gpa): boolean {
    return gpa === this.#gpa;
  }

  #tell(observer: AccessObserver): void {
    observer.l0Access(this, this.#gpa as Gpa, this.cache.pfn!);
  }

  #forget(): void {
    this.#gpa = NO_GPA;
    this.#pfn = undefined;
  }
}

const NO_GPA = -1;
const held: HoldOutcome = { ok: true };
const closed: HoldOutcome = { ok: false, code: 'EIO' };
