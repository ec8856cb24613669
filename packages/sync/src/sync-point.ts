/**
 * A place where another thread could run. Points are made once and yielded many times: never one object per yield.
 * A point without `ready` can always go on.
 */
export interface SyncPoint {
  readonly name: string;
  readonly kind: SyncPointKind;
  /** Whether the operation can go on. Free of side effects: a scheduler may ask it at any time, any number of times. */
  ready?(): boolean;
}

/**
 * `step` is a plain place, `acquire` waits for a lock, `sleep` gives up the CPU for a reason of its own (I/O, a page
 * fault), `wait` waits for a condition.
 */
export type SyncPointKind = 'step' | 'acquire' | 'sleep' | 'wait';

/** An operation that may sleep: a generator that yields at each place where another thread could run. */
export type Op<T> = Generator<SyncPoint, T, void>;

/** A plain `step` point. Make it once, at module level. */
export function point(name: string): SyncPoint {
  return Object.freeze({ name, kind: 'step' });
}

/**
 * A `sleep` point, for an operation that gives up the CPU: a page fault, I/O, an allocation. Make it once, at module
 * level. The driver reports it to the observer as `mightSleep`, as `might_sleep()` does.
 */
export function sleepPoint(name: string): SyncPoint {
  return Object.freeze({ name, kind: 'sleep' });
}
