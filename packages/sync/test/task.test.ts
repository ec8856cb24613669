import { afterEach, expect, test } from 'vitest';
import { AssertionError, currentTask, enterTask } from '../src/index.ts';

afterEach(() => enterTask(0));

test('task 0 runs when nobody says otherwise', () => {
  expect(currentTask).toBe(0);
});

test.each([0, 1, 65_535])('enterTask(%d) sets the current task', (task) => {
  enterTask(task);
  expect(currentTask).toBe(task);
});

test.each([-1, 0.5, 65_536, Number.NaN, Number.POSITIVE_INFINITY])(
  'enterTask(%d) is refused and changes nothing',
  (task) => {
    enterTask(7);
    expect(() => enterTask(task)).toThrow(AssertionError);
    expect(currentTask).toBe(7);
  },
);
