import { mightSleep } from './lock-observer.ts';
import type { Op, SyncPoint } from './sync-point.ts';

/** The operation waits for something that nobody is left to provide. A programmer error. */
export class DeadlockError extends Error {
  override readonly name = 'DeadlockError';
  readonly point: SyncPoint;

  constructor(point: SyncPoint) {
    super(`sync: deadlock: "${point.name}" is not ready and no other task runs`);
    this.point = point;
  }
}

/**
 * Runs an operation to its end on the calling thread, as one task with nobody beside it.
 *
 * @returns what the operation returns; what it throws comes through.
 * @throws DeadlockError when a point is not ready. The operation is left where it stands.
 */
export function drive<T>(op: Op<T>): T {
  for (;;) {
    const result = op.next();
    if (result.done) return result.value;
    const point = result.value;
    if (point.kind === 'sleep') mightSleep(point.name);
    if (point.ready !== undefined && !point.ready()) throw new DeadlockError(point);
  }
}
