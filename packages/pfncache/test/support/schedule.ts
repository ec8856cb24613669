import { AssertionError } from '@nvmx/guest-memory';
import type { Op } from '@nvmx/sync';
import { Task } from './task.ts';

const stepsMax = 20_000;

/** Which of the ready tasks goes on, and for how many steps. */
export interface Turn {
  readonly task: number;
  readonly steps: number;
}

/**
 * Runs operations as tasks, one turn after the other, over and over; `check` looks after each step. Throws when the tasks
 * wait for each other, or do not end.
 */
export function runSchedule(ops: readonly Op<unknown>[], turns: readonly Turn[], check: () => void): void {
  const tasks = ops.map((op) => new Task(op));
  let steps = 0;
  for (let turn = 0; ; turn++) {
    const ready = tasks.filter((task) => task.ready);
    if (ready.length === 0) break;
    const { task, steps: stepsWanted } = turns[turn % turns.length]!;
    const chosen = ready[task % ready.length]!;
    for (let i = 0; i < stepsWanted && chosen.ready; i++, steps++) {
      chosen.step();
      check();
    }
    if (steps > stepsMax) throw new AssertionError('the tasks make no progress (I10)');
  }
  const stuck = tasks.filter((task) => !task.done).map((task) => task.at);
  if (stuck.length > 0) throw new AssertionError(`the tasks wait for each other (I10): ${stuck.join(', ')}`);
}
