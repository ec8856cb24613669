import { afterEach, describe, expect, test } from 'vitest';
import { AssertionError, DeadlockError, drive, enterTask, Mutex, type Op, point, SpinLock } from '../src/index.ts';
import { everySchedule } from './schedules.ts';

const inside = point('inside');

afterEach(() => enterTask(0));

describe.each([
  ['Mutex', (name: string) => new Mutex(name), 'mutex'],
  ['SpinLock', (name: string) => new SpinLock(name), 'spin lock'],
])('%s', (_title, create, word) => {
  test('is free when new, held after lock(), free after unlock()', () => {
    const lock = create('m');
    expect([lock.held, lock.holder]).toEqual([false, undefined]);
    enterTask(3);
    drive(lock.lock());
    expect([lock.held, lock.holder]).toEqual([true, 3]);
    lock.unlock();
    expect([lock.held, lock.holder]).toEqual([false, undefined]);
  });

  test('lock() yields exactly once when the lock is free', () => {
    const op = create('m').lock();
    expect(op.next()).toMatchObject({ done: false, value: { name: 'lock m', kind: 'acquire' } });
    expect(op.next().done).toBe(true);
  });

  test('tryLock() takes a free lock and refuses a held one, even for its holder', () => {
    const lock = create('m');
    expect(lock.tryLock()).toBe(true);
    expect(lock.tryLock()).toBe(false);
    lock.unlock();
    expect(lock.tryLock()).toBe(true);
  });

  test('lock() of a held lock with nobody else is a deadlock', () => {
    const lock = create('m');
    drive(lock.lock());
    expect(() => drive(lock.lock())).toThrow(DeadlockError);
    expect(() => drive(lock.lock())).toThrow('"lock m" is not ready');
  });

  test('a waiter that is resumed too early waits on', () => {
    const lock = create('m');
    lock.tryLock();
    const op = lock.lock();
    for (let i = 0; i < 3; i++) expect(op.next().done).toBe(false);
    lock.unlock();
    expect(op.next().done).toBe(true);
  });

  test('a waiter that is closed does not take the lock', () => {
    const lock = create('m');
    lock.tryLock();
    const op = lock.lock();
    op.next();
    op.return();
    lock.unlock();
    expect(lock.held).toBe(false);
  });

  test('unlock() of a free lock is refused', () => {
    const lock = create('m');
    expect(() => lock.unlock()).toThrow(AssertionError);
    expect(() => lock.unlock()).toThrow(`${word} m: unlocked by task 0, held by nobody`);
  });

  test('unlock() by another task is refused and leaves the lock held', () => {
    const lock = create('m');
    enterTask(1);
    drive(lock.lock());
    enterTask(2);
    expect(() => lock.unlock()).toThrow(`${word} m: unlocked by task 2, held by task 1`);
    expect(lock.holder).toBe(1);
  });

  test('no two tasks are inside at once, in any schedule', () => {
    const { schedules, deadlocks } = everySchedule(() => {
      const lock = create('m');
      let count = 0;
      const ops = [1, 2, 3].map(function* (): Op<void> {
        yield* lock.lock();
        const before = count;
        yield inside;
        count = before + 1;
        lock.unlock();
      });
      return { ops, atEnd: () => expect(count).toBe(3) };
    });
    expect(deadlocks).toEqual([]);
    expect(schedules).toBeGreaterThan(6);
  });

  test('without the lock the same tasks do lose an update: the schedules are real', () => {
    const results = new Set<number>();
    everySchedule(() => {
      let count = 0;
      const ops = [1, 2].map(function* (): Op<void> {
        const before = count;
        yield inside;
        count = before + 1;
      });
      return { ops, atEnd: () => results.add(count) };
    });
    expect([...results].sort()).toEqual([1, 2]);
  });

  test('two locks in two orders deadlock in some schedule', () => {
    const { deadlocks } = everySchedule(() => {
      const [a, b] = [create('a'), create('b')];
      return { ops: [both(a, b), both(b, a)] };
    });
    expect(deadlocks).toContainEqual(['lock b', 'lock a']);
  });

  test('two locks in one order never deadlock', () => {
    const { deadlocks } = everySchedule(() => {
      const [a, b] = [create('a'), create('b')];
      return { ops: [both(a, b), both(a, b)] };
    });
    expect(deadlocks).toEqual([]);
  });
});

function* both(first: Mutex | SpinLock, second: Mutex | SpinLock): Op<void> {
  yield* first.lock();
  yield* second.lock();
  second.unlock();
  first.unlock();
}
