import { enterTask, LockOrder, type Op, type SyncPoint, setLockObserver } from '@nvmx/sync';

/** What one run starts from. Made anew for each schedule. */
export interface Scenario {
  readonly tasks: readonly (() => Op<unknown>)[];
  /** Runs when all tasks have ended: throws when the outcome is wrong. */
  check(): void;
}

export interface Outcome {
  readonly schedules: number;
  /** The first error, of a task or of the check; 'deadlock' when tasks wait for each other. */
  readonly failure: string | undefined;
}

interface Choice {
  readonly options: readonly number[];
  taken: number;
}

const STEPS_MAX = 2000;

/**
 * Runs every schedule of the tasks with at most `preemptionsMax` switches away from a task that could have gone on, with
 * the lock-order observer on. Stops at the first failure. Sequentially consistent, and bounded: no proof beyond the bound.
 */
export function everySchedule(create: () => Scenario, o: { preemptionsMax: number }): Outcome {
  const choices: Choice[] = [];
  const locks = new LockOrder();
  let schedules = 0;
  setLockObserver(locks);
  try {
    do {
      schedules++;
      locks.forgetHeld();
      const failure = run(create(), choices, o.preemptionsMax);
      if (failure !== undefined) return { schedules, failure };
    } while (advance(choices));
    return { schedules, failure: undefined };
  } finally {
    setLockObserver(undefined);
    enterTask(0);
  }
}

/** Turns to the next schedule: the last choice that has an option left takes it. */
function advance(choices: Choice[]): boolean {
  for (let last = choices.at(-1); last !== undefined; last = choices.at(-1)) {
    if (++last.taken < last.options.length) return true;
    choices.pop();
  }
  return false;
}

function run(scenario: Scenario, choices: Choice[], preemptionsMax: number): string | undefined {
  const tasks = scenario.tasks.map((start) => ({
    op: start(),
    point: undefined as SyncPoint | undefined,
    ended: false,
  }));
  let current = 0;
  let preemptions = 0;
  try {
    for (let step = 0, depth = 0; step < STEPS_MAX; step++) {
      const ready = tasks.flatMap(({ ended, point }, i) => (ended || point?.ready?.() === false ? [] : [i]));
      if (ready.length === 0) {
        if (tasks.some(({ ended }) => !ended)) return 'deadlock';
        enterTask(0);
        scenario.check();
        return undefined;
      }
      const goesOn = ready.includes(current);
      const others = goesOn && preemptions >= preemptionsMax ? [] : ready.filter((i) => i !== current);
      const options = goesOn ? [current, ...others] : others;
      const choice = choices[depth] ?? { options, taken: 0 };
      if (depth === choices.length) choices.push(choice);
      depth++;
      const next = choice.options[choice.taken]!;
      if (goesOn && next !== current) preemptions++;
      current = next;
      enterTask(next + 1);
      const result = tasks[next]!.op.next();
      tasks[next]!.ended = result.done === true;
      tasks[next]!.point = result.done === true ? undefined : result.value;
    }
    return `no end after ${STEPS_MAX} steps`;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
