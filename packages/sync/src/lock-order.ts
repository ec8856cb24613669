import { AssertionError } from './assert.ts';
import type { LockMode, LockObserver, ObservedLock } from './lock-observer.ts';
import { currentTask } from './task.ts';

/** A rule of the locks that was broken. */
export interface LockViolation {
  /**
   * `order`: two classes are taken in both orders. `recursion`: a class is awaited by a task that holds it.
   * `sleep`: a task may sleep where it must not. `held`: a task ended with something held.
   */
  readonly kind: 'order' | 'recursion' | 'sleep' | 'held';
  readonly task: number;
  /** The lock names of the cycle, or what the task holds; for `sleep` the place comes last. */
  readonly names: readonly string[];
  readonly message: string;
}

/** A broken lock rule, thrown where it was broken. A programmer error. */
export class LockOrderError extends AssertionError {
  readonly violation: LockViolation;

  constructor(violation: LockViolation) {
    super(violation.message);
    this.violation = violation;
  }
}

/** What one task holds now. */
interface TaskState {
  readonly held: ObservedLock[];
  readonly atomicReasons: string[];
  /** Spin and rw locks held, plus open atomic sections. */
  atomicDepth: number;
}

/**
 * Finds lock-order cycles and sleeping where it is forbidden, without any deadlock having to happen.
 *
 * A lock's name is its class. Awaiting class B with class A held says "A before B" for good; the pair "B before A", in
 * this run or another, is then a violation, and so is a longer cycle. A try awaits nothing, and neither does the start of
 * an SRCU section; `synchronize()` awaits the sections. Readers count as writers, since a queued writer blocks readers.
 *
 * Violations throw LockOrderError where they happen, or go to `onViolation`. Uses the task of `enterTask()`.
 */
export class LockOrder implements LockObserver {
  readonly #onViolation: ((violation: LockViolation) => void) | undefined;
  readonly #classes = new Map<string, number>();
  readonly #names: string[] = [];
  /** For each class the classes that were awaited while it was held. */
  readonly #after: number[][] = [];
  readonly #tasks: TaskState[] = [];

  constructor(o: { onViolation?: (violation: LockViolation) => void } = {}) {
    this.#onViolation = o.onViolation;
  }

  acquiring(lock: ObservedLock, _mode: LockMode): void {
    const { held } = this.#task();
    if (held.length === 0) return;
    const awaited = this.#class(lock.name);
    for (let i = 0; i < held.length; i++) {
      const before = this.#class(held[i]!.name);
      if (before === awaited) this.#recursion(lock);
      else if (!this.#after[before]!.includes(awaited)) this.#learn(before, awaited);
    }
  }

  acquired(lock: ObservedLock, _mode: LockMode): void {
    const task = this.#task();
    task.held.push(lock);
    if (isAtomic(lock)) task.atomicDepth++;
  }

  released(lock: ObservedLock, _mode: LockMode): void {
    const task = this.#task();
    const at = task.held.lastIndexOf(lock);
    // A lock taken before observing began is not known here.
    if (at === -1) return;
    const { held } = task;
    for (let i = at + 1; i < held.length; i++) held[i - 1] = held[i]!;
    held.pop();
    if (isAtomic(lock)) task.atomicDepth--;
  }

  mightSleep(name: string): void {
    const task = this.#task();
    if (task.atomicDepth === 0) return;
    const because = [...task.held.filter(isAtomic).map((lock) => lock.name), ...task.atomicReasons];
    this.#report('sleep', [...because, name], `task ${currentTask} may sleep at "${name}" under ${because.join(', ')}`);
  }

  atomicBegin(reason: string): void {
    const task = this.#task();
    task.atomicReasons.push(reason);
    task.atomicDepth++;
  }

  atomicEnd(): void {
    const task = this.#task();
    if (task.atomicReasons.pop() !== undefined) task.atomicDepth--;
  }

  /** Names of what the given task holds, oldest first. */
  heldBy(task: number): string[] {
    return (this.#tasks[task]?.held ?? []).map((lock) => lock.name);
  }

  /** The learned order: for each class the classes that were awaited while it was held. */
  order(): ReadonlyMap<string, readonly string[]> {
    const rows = this.#after.map((after, i) => [this.#names[i]!, after.map((node) => this.#names[node]!)] as const);
    return new Map(rows.filter(([, after]) => after.length > 0));
  }

  /** Checks that the current task holds nothing. Call it where a task ends. */
  taskEnds(): void {
    const { held, atomicReasons } = this.#task();
    if (held.length + atomicReasons.length === 0) return;
    const names = [...held.map((lock) => lock.name), ...atomicReasons];
    this.#report('held', names, `task ${currentTask} ended and still holds ${names.join(', ')}`);
  }

  /** Forgets who holds what and keeps the learned order. An explorer calls it where it abandons or starts a schedule. */
  forgetHeld(): void {
    for (const task of this.#tasks) {
      task.held.length = 0;
      task.atomicReasons.length = 0;
      task.atomicDepth = 0;
    }
  }

  #task(): TaskState {
    return this.#tasks[currentTask] ?? this.#createTask();
  }

  #createTask(): TaskState {
    while (this.#tasks.length <= currentTask) this.#tasks.push({ held: [], atomicReasons: [], atomicDepth: 0 });
    return this.#tasks[currentTask]!;
  }

  #class(name: string): number {
    const known = this.#classes.get(name);
    if (known !== undefined) return known;
    const node = this.#names.push(name) - 1;
    this.#classes.set(name, node);
    this.#after.push([]);
    return node;
  }

  /** A pair that closes a cycle is not learned: each run that repeats it fails again. */
  #learn(before: number, awaited: number): void {
    const path = this.#path(awaited, before);
    if (path === undefined) {
      this.#after[before]!.push(awaited);
      return;
    }
    const names = [before, ...path].map((node) => this.#names[node]!);
    this.#report('order', names, `task ${currentTask} closes a lock-order cycle: ${names.join(' -> ')}`);
  }

  /** Classes from `from` to `to` along the learned order, both included. */
  #path(from: number, to: number, seen: Set<number> = new Set()): number[] | undefined {
    if (from === to) return [to];
    seen.add(from);
    for (const next of this.#after[from]!) {
      const rest = seen.has(next) ? undefined : this.#path(next, to, seen);
      if (rest !== undefined) return [from, ...rest];
    }
    return undefined;
  }

  #recursion(lock: ObservedLock): void {
    this.#report('recursion', [lock.name], `task ${currentTask} awaits ${lock.name}, and holds a lock of that name`);
  }

  #report(kind: LockViolation['kind'], names: readonly string[], text: string): void {
    const violation: LockViolation = { kind, task: currentTask, names, message: `lock order: ${text}` };
    if (this.#onViolation === undefined) throw new LockOrderError(violation);
    this.#onViolation(violation);
  }
}

function isAtomic(lock: ObservedLock): boolean {
  return lock.kind === 'spin' || lock.kind === 'rw';
}
