import { fail } from './assert.ts';
import { observer } from './lock-observer.ts';
import type { Op, SyncPoint } from './sync-point.ts';
import { currentTask } from './task.ts';

/**
 * Many readers or one writer, as `rwlock_t`; nothing may sleep under it. A queued writer blocks new readers, as the
 * queued rwlock of Linux does in process context: a task that reads twice can therefore deadlock.
 */
export class RwLock {
  readonly kind = 'rw';
  readonly name: string;
  #readers = 0;
  #writer = -1;
  #writersQueued = 0;
  /** Writers that hold or await the lock: what a reader looks at, in one comparison. */
  #writers = 0;
  readonly #readPoint: SyncPoint;
  readonly #writePoint: SyncPoint;
  readonly #queuedPoint: SyncPoint;

  constructor(name: string) {
    this.name = name;
    this.#readPoint = { name: `read ${name}`, kind: 'acquire', ready: () => this.#readable() };
    this.#writePoint = { name: `write ${name}`, kind: 'acquire' };
    this.#queuedPoint = { name: `write ${name} (queued)`, kind: 'acquire', ready: () => this.#writable() };
  }

  get readers(): number {
    return this.#readers;
  }

  get writing(): boolean {
    return this.#writer !== -1;
  }

  /** Writers that wait for the lock and keep new readers out. */
  get writersQueued(): number {
    return this.#writersQueued;
  }

  /** Waits until no writer holds or awaits the lock, and enters as a reader. Yields at least once. */
  *read(): Op<void> {
    if (observer !== undefined) observer.acquiring?.(this, 'shared');
    do yield this.#readPoint;
    while (!this.#readable());
    this.#enter();
  }

  /** Enters as a reader if no writer holds or awaits the lock. */
  tryRead(): boolean {
    if (!this.#readable()) return false;
    this.#enter();
    return true;
  }

  /** Leaves as a reader. Throws AssertionError when nobody reads; who the readers are is not kept. */
  endRead(): void {
    if (this.#readers === 0) fail(`rw lock ${this.name}: endRead() while nobody reads`);
    this.#readers--;
    if (observer !== undefined) observer.released(this, 'shared');
  }

  /**
   * Waits until the lock is free, and enters as the writer. The first yield is the arrival: readers may still come in
   * there. A writer that then finds the lock taken queues, and keeps new readers out until it is done.
   */
  *write(): Op<void> {
    if (observer !== undefined) observer.acquiring?.(this, 'exclusive');
    yield this.#writePoint;
    if (!this.#writable()) yield* this.#queue();
    this.#take();
  }

  /** Enters as the writer if nobody holds or awaits the lock as one, and nobody reads. */
  tryWrite(): boolean {
    if (!this.#writable() || this.#writersQueued > 0) return false;
    this.#take();
    return true;
  }

  /** Leaves as the writer. Throws AssertionError unless the current task writes. */
  endWrite(): void {
    if (this.#writer !== currentTask) this.#misused();
    this.#writer = -1;
    this.#writers--;
    if (observer !== undefined) observer.released(this, 'exclusive');
  }

  *#queue(): Op<void> {
    this.#writersQueued++;
    this.#writers++;
    try {
      do yield this.#queuedPoint;
      while (!this.#writable());
    } finally {
      this.#writersQueued--;
      this.#writers--;
    }
  }

  #readable(): boolean {
    return this.#writers === 0;
  }

  #writable(): boolean {
    return this.#writer === -1 && this.#readers === 0;
  }

  #enter(): void {
    this.#readers++;
    if (observer !== undefined) observer.acquired(this, 'shared');
  }

  #take(): void {
    this.#writer = currentTask;
    this.#writers++;
    if (observer !== undefined) observer.acquired(this, 'exclusive');
  }

  #misused(): never {
    const writer = this.#writer === -1 ? 'nobody' : `task ${this.#writer}`;
    fail(`rw lock ${this.name}: endWrite() by task ${currentTask}, written by ${writer}`);
  }
}
