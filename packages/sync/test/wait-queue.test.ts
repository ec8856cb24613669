import { describe, expect, test } from 'vitest';
import { DeadlockError, drive, type Op, point, WaitQueue } from '../src/index.ts';
import { everySchedule } from './schedules.ts';

const step = point('step');

describe('WaitQueue', () => {
  test('a condition that holds costs one yield', () => {
    const op = new WaitQueue('q').wait(() => true);
    expect(op.next()).toMatchObject({ done: false, value: { name: 'wait q', kind: 'wait' } });
    expect(op.next().done).toBe(true);
  });

  test('a condition that nobody can make true is a deadlock', () => {
    expect(() => drive(new WaitQueue('q').wait(() => false))).toThrow(DeadlockError);
  });

  test('the waiter is ready exactly when the condition holds', () => {
    const queue = new WaitQueue('q');
    let open = false;
    const op = queue.wait(() => open);
    const point = op.next().value!;
    expect([point.ready!(), queue.waiters]).toEqual([false, 1]);
    expect(op.next().done).toBe(false);
    open = true;
    expect(point.ready!()).toBe(true);
    expect(op.next().done).toBe(true);
    expect(queue.waiters).toBe(0);
  });

  test('waiters with different conditions do not disturb each other', () => {
    const queue = new WaitQueue('q');
    let level = 0;
    const ops = [1, 2, 3].map((wanted) => queue.wait(() => level >= wanted));
    const points = ops.map((op) => op.next().value!);
    for (level = 0; level <= 3; level++) {
      expect(points.map((point) => point.ready!())).toEqual([level >= 1, level >= 2, level >= 3]);
    }
  });

  test('a waiter that is closed is gone', () => {
    const queue = new WaitQueue('q');
    const op = queue.wait(() => false);
    op.next();
    op.return();
    expect(queue.waiters).toBe(0);
    drive(queue.wait(() => true));
  });

  test('a condition that throws ends the wait with its error', () => {
    const queue = new WaitQueue('q');
    const broken = () => {
      throw new Error('broken condition');
    };
    expect(() => drive(queue.wait(broken))).toThrow('broken condition');
  });

  test('no wake-up is lost, in any schedule of a waiter and a waker', () => {
    const { schedules, deadlocks } = everySchedule(() => {
      const queue = new WaitQueue('q');
      let posted = 0;
      const waiter = function* (): Op<void> {
        for (let wanted = 1; wanted <= 2; wanted++) {
          yield step;
          yield* queue.wait(() => posted >= wanted);
        }
      };
      const waker = function* (): Op<void> {
        for (let i = 0; i < 2; i++) {
          yield step;
          posted++;
        }
      };
      return { ops: [waiter(), waker()] };
    });
    expect(deadlocks).toEqual([]);
    expect(schedules).toBeGreaterThan(3);
  });
});
