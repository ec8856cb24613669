import { assert, type Gpa, gpaToGfn, type PageView, type Pfn } from '@nvmx/guest-memory';
import type { AccessObserver, HeldPage, HoldOutcome, PageRequest } from '@nvmx/mmu-events';
import type { Op } from '@nvmx/sync';
import type { HostMap } from './host-map.ts';

/** What a page shares with its backend. */
export interface PageContext {
  /** Pages that hold something. */
  readonly held: Set<HostMapPage>;
  observer: AccessObserver | undefined;
  closed: boolean;
}

/** One page of one vCPU, mapped from hold() to release(). */
export class HostMapPage implements HeldPage {
  readonly request: PageRequest;
  readonly #map: HostMap;
  readonly #context: PageContext;
  #gpa: Gpa | undefined;
  #holdCount = 0;
  #using = false;

  constructor(o: { request: PageRequest; map: HostMap; context: PageContext }) {
    this.request = o.request;
    this.#map = o.map;
    this.#context = o.context;
  }

  get gpa(): Gpa | undefined {
    return this.#gpa;
  }

  get pfn(): Pfn {
    const { pfn } = this.#map;
    assert(pfn !== undefined && this.#gpa !== undefined, 'host-map: pfn of a page that is not held');
    return pfn;
  }

  get view(): PageView {
    assert(this.#using, 'host-map: view outside of a use');
    return this.#map.view;
  }

  /** A map is never looked up again, so that a hit is only what is held already. */
  tryHold(gpa: Gpa): boolean {
    this.#map.statistics.checks++;
    return gpa === this.#gpa;
  }

  *hold(gpa: Gpa): Op<HoldOutcome> {
    if (this.#context.closed) return closed;
    if (this.tryHold(gpa)) return held;
    this.release({ dirty: true });
    const gfn = gpaToGfn(gpa);
    const outcome = yield* this.request.access === 'write' ? this.#map.map(gfn) : this.#map.mapReadonly(gfn);
    if (!outcome.ok) {
      if (outcome.cause?.code === 'ENOMEM') throw outcome.cause;
      return { ok: false, code: outcome.code };
    }
    if (this.#context.closed) return this.#closedMeanwhile();
    this.#gpa = gpa;
    this.#holdCount++;
    this.#context.held.add(this);
    return held;
  }

  stamp(): number {
    return this.#holdCount;
  }

  isCurrent(stamp: number): boolean {
    return this.#gpa !== undefined && stamp === this.#holdCount;
  }

  beginUse(): boolean {
    assert(!this.#using, 'host-map: uses do not nest');
    if (this.#gpa === undefined) return false;
    this.#using = true;
    this.#context.observer?.l0Access(this, this.#gpa, this.pfn);
    return true;
  }

  endUse(o?: { wrote: boolean }): void {
    assert(this.#using, 'host-map: endUse() without a use');
    this.#using = false;
    if (o?.wrote) this.#map.markDirty();
  }

  release(o: { dirty: boolean }): void {
    assert(!this.#using, 'host-map: released during a use');
    this.#gpa = undefined;
    this.#map.unmap(o);
    this.#context.held.delete(this);
  }

  /** What was mapped for writing is marked dirty: nobody said that it is clean. */
  *deactivate(): Op<void> {
    this.release({ dirty: true });
  }

  #closedMeanwhile(): HoldOutcome {
    this.#map.unmap({ dirty: false });
    return closed;
  }
}

const held: HoldOutcome = { ok: true };
const closed: HoldOutcome = { ok: false, code: 'EIO' };
