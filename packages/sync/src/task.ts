import { fail } from './assert.ts';

/** Per-task state is kept in arrays, so numbers are small. */
const TASK_LAST = 0xffff;

/** The task that runs now. A live binding: a scheduler sets it, locks and the observer read it. */
export let currentTask = 0;

/**
 * Says which task runs from here on. A scheduler calls it before it resumes an operation; it costs one store. Task 0 is
 * what runs when nobody says otherwise. Throws AssertionError unless the number is an integer in 0..65535.
 */
export function enterTask(task: number): void {
  if (task >>> 0 !== task || task > TASK_LAST) fail(`sync: task ${task} is not an integer in 0..${TASK_LAST}`);
  currentTask = task;
}
