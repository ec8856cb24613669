import { assert } from '@nvmx/guest-memory';
import { atomicBegin, atomicEnd, type Op, Srcu } from '@nvmx/sync';
import type { RangeEvent } from './range.ts';

/**
 * A secondary MMU's side of the notifier: `struct mmu_notifier_ops`. Every start is followed by its end, except when the
 * listener unsubscribes in between. Events of different ranges, and of one range, may overlap in time.
 */
export interface MmuNotifierListener {
  /** On return nothing of the listener uses the old pages any more. With `mayBlock` false it may not sleep. */
  invalidateRangeStart(event: RangeEvent): Op<void>;
  /** The page tables have changed. Never sleeps. */
  invalidateRangeEnd(event: RangeEvent): Op<void>;
  /** The address space goes away: drop every use of it. */
  release?(): Op<void>;
}

/** Who listens to an address space. Lists are replaced and never changed, so that an event keeps the one it began with. */
export class Listeners {
  /** Held around each call, so that an unsubscribed listener can wait until it is called no more. */
  readonly srcu = new Srcu('mmu_notifier_srcu');
  #list: readonly MmuNotifierListener[] = [];

  get current(): readonly MmuNotifierListener[] {
    return this.#list;
  }

  /** Adds a listener: it sees the events that start from now on. */
  add(listener: MmuNotifierListener): () => void {
    assert(!this.#list.includes(listener), 'host mm: the listener is subscribed already');
    this.#list = [...this.#list, listener];
    return () => {
      this.#list = this.#list.filter((other) => other !== listener);
    };
  }

  *start(begun: readonly MmuNotifierListener[], event: RangeEvent): Op<void> {
    for (const listener of begun) {
      if (this.#list.includes(listener)) yield* this.#call(startOf(listener, event));
    }
  }

  /** Tells those that saw the start and still listen, as mmu_notifier_unregister() cuts an event in two. */
  *end(begun: readonly MmuNotifierListener[], event: RangeEvent): Op<void> {
    for (const listener of begun) {
      if (this.#list.includes(listener)) yield* this.#call(listener.invalidateRangeEnd(event));
    }
  }

  *#call(op: Op<void>): Op<void> {
    const token = this.srcu.enter();
    yield* op;
    this.srcu.exit(token);
  }
}

/** A non-blocking start is an atomic section, so that a lock observer sees a listener that sleeps in it. */
function* startOf(listener: MmuNotifierListener, event: RangeEvent): Op<void> {
  if (event.mayBlock) return yield* listener.invalidateRangeStart(event);
  atomicBegin(event.reason);
  try {
    return yield* listener.invalidateRangeStart(event);
  } finally {
    atomicEnd();
  }
}
