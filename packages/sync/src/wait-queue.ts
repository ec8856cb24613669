import { mightSleep } from './lock-observer.ts';
import type { Op, SyncPoint } from './sync-point.ts';

/**
 * Waits for a condition, as `struct rcuwait`. There is no wake-up call: the condition itself says whether the waiter
 * can go on, so a wake-up cannot be lost between the test and the sleep.
 */
export class WaitQueue {
  readonly name: string;
  #waiters = 0;
  readonly #spare: Waiter[] = [];

  constructor(name: string) {
    this.name = name;
  }

  /** Operations that wait here now. */
  get waiters(): number {
    return this.#waiters;
  }

  /**
   * Waits until `condition()` is true; when the operation goes on, it still is. The condition must have no side effects.
   * May sleep. Yields at least once.
   */
  *wait(condition: () => boolean): Op<void> {
    const waiter = this.#spare.pop() ?? new Waiter(this.name);
    mightSleep(waiter.name);
    waiter.condition = condition;
    this.#waiters++;
    try {
      do yield waiter;
      while (!condition());
    } finally {
      this.#waiters--;
      waiter.condition = never;
      this.#spare.push(waiter);
    }
  }
}

/** One waiting operation. Kept for reuse. */
class Waiter implements SyncPoint {
  readonly kind = 'wait';
  readonly name: string;
  condition: () => boolean = never;

  constructor(name: string) {
    this.name = `wait ${name}`;
  }

  ready(): boolean {
    return this.condition();
  }
}

function never(): boolean {
  return false;
}
