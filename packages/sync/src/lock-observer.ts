/** The kinds of lock. Nothing may sleep while a `spin` or `rw` lock is held. */
export type LockKind = 'mutex' | 'spin' | 'rw' | 'srcu';
/** How a lock is taken: alone, or together with other readers. */
export type LockMode = 'exclusive' | 'shared';

/** What an observer sees of a lock. Locks with one name are one class, as in lockdep. */
export interface ObservedLock {
  readonly name: string;
  readonly kind: LockKind;
}

/**
 * Watches every lock of the process. Calls come from the task named by `enterTask()`. A method that throws makes the
 * lock operation fail in its place.
 */
export interface LockObserver {
  /** The task may have to wait for the lock. Not reported for a try, nor for the start of an SRCU read section. */
  acquiring?(lock: ObservedLock, mode: LockMode): void;
  acquired(lock: ObservedLock, mode: LockMode): void;
  released(lock: ObservedLock, mode: LockMode): void;
  /** The task may sleep here: a mutex, `synchronize()`, `wait()`, a `sleep` point, an explicit `mightSleep()`. */
  mightSleep(name: string): void;
  /** From here to `atomicEnd()` the task must not sleep: preemption is off, or the caller said that it cannot block. */
  atomicBegin?(reason: string): void;
  atomicEnd?(): void;
}

/** The observer in force. A live binding, read by the locks: off, it costs them one branch. */
export let observer: LockObserver | undefined;

/** Sets the observer of all locks of the process; `undefined` turns observing off. */
export function setLockObserver(next: LockObserver | undefined): void {
  observer = next;
}

/** Says that the caller may sleep here, as `might_sleep()` does. The locks of this package say it themselves. */
export function mightSleep(name: string): void {
  if (observer !== undefined) observer.mightSleep(name);
}

/** Starts a section in which the current task must not sleep, as `non_block_start()` and `preempt_disable()` do. Nests. */
export function atomicBegin(reason: string): void {
  if (observer !== undefined) observer.atomicBegin?.(reason);
}

/** Ends the section of the matching `atomicBegin()`. */
export function atomicEnd(): void {
  if (observer !== undefined) observer.atomicEnd?.();
}
