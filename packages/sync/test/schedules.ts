import { enterTask, mightSleep, type Op, type SyncPoint } from '../src/index.ts';

/** Operations of one schedule; task i + 1 runs the i-th. `atEnd` checks what must hold when all are done. */
export interface Program {
  readonly ops: readonly Op<unknown>[];
  readonly atEnd?: () => void;
}

export interface Explored {
  readonly schedules: number;
  /** For each schedule that got stuck, the names of the points where its tasks wait. */
  readonly deadlocks: readonly (readonly string[])[];
}

/** Runs a small program in every interleaving of its yields. `build` makes it anew each time. */
export function everySchedule(build: () => Program): Explored {
  const deadlocks: string[][] = [];
  let schedules = 0;
  for (let prefix: number[] | undefined = []; prefix !== undefined; schedules++) {
    const branches: { chosen: number; count: number }[] = [];
    const given = prefix;
    const waiting = run(build(), (count) => {
      const chosen = given[branches.length] ?? 0;
      branches.push({ chosen, count });
      return chosen;
    });
    if (waiting.length > 0) deadlocks.push(waiting);
    prefix = nextPrefix(branches);
  }
  return { schedules, deadlocks };
}

/** Runs a program in the one schedule that the numbers pick; returns the names of the points where tasks are stuck. */
export function oneSchedule(program: Program, picks: readonly number[]): string[] {
  let step = 0;
  return run(program, (count) => (picks.length === 0 ? 0 : picks[step++ % picks.length]! % count));
}

function run(program: Program, choose: (count: number) => number): string[] {
  const tasks = program.ops.map((op, index) => ({ id: index + 1, op, at: undefined as SyncPoint | undefined }));
  let live = tasks;
  try {
    while (live.length > 0) {
      const ready = live.filter(({ at }) => at?.ready === undefined || at.ready());
      if (ready.length === 0) return live.map(({ at }) => at!.name);
      const task = ready[choose(ready.length)]!;
      enterTask(task.id);
      if (task.at?.kind === 'sleep') mightSleep(task.at.name);
      const result = task.op.next();
      task.at = result.done ? undefined : result.value;
      if (result.done) live = live.filter((other) => other !== task);
    }
  } finally {
    enterTask(0);
  }
  program.atEnd?.();
  return [];
}

function nextPrefix(branches: readonly { chosen: number; count: number }[]): number[] | undefined {
  for (let i = branches.length - 1; i >= 0; i--) {
    const { chosen, count } = branches[i]!;
    if (chosen + 1 < count) return [...branches.slice(0, i).map((branch) => branch.chosen), chosen + 1];
  }
  return undefined;
}
