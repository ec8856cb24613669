import { assert } from './assert.ts';

/** The task that runs now. A live binding: a scheduler sets it, locks and the observer read it. */
export let currentTask = 0;

/**
 * Says which task runs from here on. A scheduler calls it before it resumes an operation; it costs one store.
 * Task 0 is what runs when nobody says otherwise. Numbers are small: per-task state is kept in arrays.
 */
export function enterTask(task: number): void {
  assert(task >= 0 && task <= 0xffff && Math.trunc(task) === task, `sync: task ${task} is not an integer in 0..65535`);
  currentTask = task;
}
