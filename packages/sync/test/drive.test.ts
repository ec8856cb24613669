import { afterEach, describe, expect, test } from 'vitest';
import { DeadlockError, drive, type Op, point, type SyncPoint, setLockObserver, sleepPoint } from '../src/index.ts';

const step = point('step');
const nap = sleepPoint('nap');
const closed: SyncPoint = { name: 'closed door', kind: 'wait', ready: () => false };

afterEach(() => setLockObserver(undefined));

describe('drive', () => {
  test('returns what the operation returns: no yield, and many', () => {
    expect(drive(count(0))).toBe(0);
    expect(drive(count(1))).toBe(1);
    expect(drive(count(1000))).toBe(1000);
  });

  test('an error of the operation comes through', () => {
    expect(() => drive(failing())).toThrow('broken');
  });

  test('a point that is not ready is a deadlock that names the point', () => {
    const error = caught(() => drive(stuck()));
    expect(error).toBeInstanceOf(DeadlockError);
    expect((error as DeadlockError).point).toBe(closed);
    expect((error as Error).message).toBe('sync: deadlock: "closed door" is not ready and no other task runs');
  });

  test('a point whose ready() is true does not stop the operation', () => {
    expect(drive(open())).toBe('through');
  });

  test('a sleep point is reported to the observer, a step is not', () => {
    const sleeps: string[] = [];
    setLockObserver({ acquired() {}, released() {}, mightSleep: (name) => sleeps.push(name) });
    drive(sleeper());
    expect(sleeps).toEqual(['nap']);
  });
});

describe('points', () => {
  test('a step and a sleep point are frozen and always ready', () => {
    expect(step).toEqual({ name: 'step', kind: 'step' });
    expect(nap).toEqual({ name: 'nap', kind: 'sleep' });
    expect(Object.isFrozen(step) && Object.isFrozen(nap)).toBe(true);
  });
});

function* count(yields: number): Op<number> {
  let done = 0;
  for (; done < yields; done++) yield step;
  return done;
}

function* failing(): Op<never> {
  yield step;
  throw new Error('broken');
}

function* stuck(): Op<void> {
  yield step;
  yield closed;
}

function* open(): Op<string> {
  yield { name: 'open door', kind: 'wait', ready: () => true };
  return 'through';
}

function* sleeper(): Op<void> {
  yield step;
  yield nap;
}

function caught(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
}
