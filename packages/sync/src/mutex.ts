import { fail } from './assert.ts';
import { mightSleep, observer } from './lock-observer.ts';
import type { Op, SyncPoint } from './sync-point.ts';
import { currentTask } from './task.ts';

/**
 * A sleeping lock with one holder, as `struct mutex`. Not recursive. Who gets it next is the scheduler's choice: unlike
 * mutex_lock(), waiters have no order.
 */
export class Mutex {
  readonly kind = 'mutex';
  readonly name: string;
  #holder = -1;
  readonly #acquire: SyncPoint;

  constructor(name: string) {
    this.name = name;
    this.#acquire = { name: `lock ${name}`, kind: 'acquire', ready: () => this.#holder === -1 };
  }

  get held(): boolean {
    return this.#holder !== -1;
  }

  /** The task that holds the lock, or undefined. */
  get holder(): number | undefined {
    return this.#holder === -1 ? undefined : this.#holder;
  }

  /** Waits until the lock is free, and takes it. May sleep. Yields at least once. */
  *lock(): Op<void> {
    mightSleep(this.#acquire.name);
    if (observer !== undefined) observer.acquiring?.(this, 'exclusive');
    do yield this.#acquire;
    while (this.#holder !== -1);
    this.#take();
  }

  /** Takes the lock if it is free. Never sleeps. */
  tryLock(): boolean {
    if (this.#holder !== -1) return false;
    this.#take();
    return true;
  }

  /** Frees the lock. Throws AssertionError unless the current task holds it. */
  unlock(): void {
    if (this.#holder !== currentTask) this.#misused();
    this.#holder = -1;
    if (observer !== undefined) observer.released(this, 'exclusive');
  }

  #take(): void {
    this.#holder = currentTask;
    if (observer !== undefined) observer.acquired(this, 'exclusive');
  }

  #misused(): never {
    const holder = this.#holder === -1 ? 'nobody' : `task ${this.#holder}`;
    fail(`mutex ${this.name}: unlocked by task ${currentTask}, held by ${holder}`);
  }
}
