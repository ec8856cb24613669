import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  atomicBegin,
  atomicEnd,
  drive,
  enterTask,
  LockOrder,
  LockOrderError,
  type LockViolation,
  Mutex,
  mightSleep,
  type Op,
  point,
  RwLock,
  SpinLock,
  Srcu,
  setLockObserver,
  sleepPoint,
  WaitQueue,
} from '../src/index.ts';

const step = point('step');
const nap = sleepPoint('nap');

/** Violations throw unless a test collects them. */
beforeEach(() => setLockObserver(new LockOrder()));

afterEach(() => {
  setLockObserver(undefined);
  enterTask(0);
});

const sleepers: readonly [string, () => void][] = [
  ['Mutex.lock()', () => drive(new Mutex('inner').lock())],
  ['Srcu.synchronize()', () => drive(new Srcu('inner').synchronize())],
  ['WaitQueue.wait()', () => drive(new WaitQueue('inner').wait(() => true))],
  ['a sleep point', () => drive(napping())],
  ['mightSleep()', () => mightSleep('inner')],
];

const atomics: readonly [string, () => () => void][] = [
  ['a spin lock', () => held(new SpinLock('outer'))],
  ['a spin lock taken by a try', () => tried(new SpinLock('outer'))],
  ['an rw lock, reading', () => reading(new RwLock('outer'))],
  ['an rw lock, writing', () => writing(new RwLock('outer'))],
  ['an atomic section', () => section('outer')],
];

describe.each(sleepers)('%s', (_sleeper, sleep) => {
  test.each(atomics)('under %s is sleeping while atomic; after it, is not', (_atomic, begin) => {
    const end = begin();
    expect(sleep).toThrow(/^lock order: task 0 may sleep at ".+" under outer$/);
    end();
    sleep();
  });

  test('under a mutex is allowed', () => {
    drive(new Mutex('outer').lock());
    sleep();
  });

  test('in a task beside one that holds a spin lock is allowed', () => {
    enterTask(1);
    drive(new SpinLock('outer').lock());
    enterTask(2);
    sleep();
  });
});

describe('sleeping', () => {
  test('a spin lock inside a spin lock does not sleep', () => {
    drive(new SpinLock('a').lock());
    drive(new SpinLock('b').lock());
  });

  test('a step while a spin lock is held does not sleep', () => {
    drive(new SpinLock('a').lock());
    drive(stepping());
  });

  test('the report names each reason and then the place', () => {
    const found: LockViolation[] = [];
    setLockObserver(new LockOrder({ onViolation: (violation) => found.push(violation) }));
    drive(new SpinLock('spin').lock());
    drive(new RwLock('rw').read());
    atomicBegin('mmu_notifier_range_blockable() is false');
    mightSleep('page fault');
    expect(found[0]).toMatchObject({
      kind: 'sleep',
      names: ['spin', 'rw', 'mmu_notifier_range_blockable() is false', 'page fault'],
    });
  });

  test('atomic sections nest', () => {
    atomicBegin('outer');
    atomicBegin('inner');
    atomicEnd();
    expect(() => mightSleep('here')).toThrow('under outer');
    atomicEnd();
    mightSleep('here');
  });

  test('an atomicEnd() too many changes nothing', () => {
    atomicEnd();
    drive(new SpinLock('a').lock());
    expect(() => mightSleep('here')).toThrow(LockOrderError);
  });
});

function* napping(): Op<void> {
  yield nap;
}

function* stepping(): Op<void> {
  yield step;
}

function held(lock: SpinLock): () => void {
  drive(lock.lock());
  return () => lock.unlock();
}

function tried(lock: SpinLock): () => void {
  lock.tryLock();
  return () => lock.unlock();
}

function reading(lock: RwLock): () => void {
  drive(lock.read());
  return () => lock.endRead();
}

function writing(lock: RwLock): () => void {
  drive(lock.write());
  return () => lock.endWrite();
}

function section(reason: string): () => void {
  atomicBegin(reason);
  return () => atomicEnd();
}
