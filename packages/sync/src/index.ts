export { AssertionError } from './assert.ts';
export { DeadlockError, drive } from './drive.ts';
export {
  atomicBegin,
  atomicEnd,
  type LockKind,
  type LockMode,
  type LockObserver,
  mightSleep,
  type ObservedLock,
  setLockObserver,
} from './lock-observer.ts';
export { LockOrder, LockOrderError, type LockViolation } from './lock-order.ts';
export { Mutex } from './mutex.ts';
export { RwLock } from './rw-lock.ts';
export { SpinLock } from './spin-lock.ts';
export { Srcu, type SrcuToken } from './srcu.ts';
export { type Op, point, type SyncPoint, type SyncPointKind, sleepPoint } from './sync-point.ts';
export { currentTask, enterTask } from './task.ts';
export { WaitQueue } from './wait-queue.ts';
