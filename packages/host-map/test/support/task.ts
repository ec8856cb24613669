import { enterTask, type Op, type SyncPoint } from '@nvmx/sync';

let taskCount = 0;

/** One operation that a test advances by hand, as a task of its own. */
export class Task<T> {
  readonly #op: Op<T>;
  readonly #id = ++taskCount;
  #point: SyncPoint | undefined;
  #result: { readonly value: T } | undefined;

  constructor(op: Op<T>) {
    this.#op = op;
  }

  get done(): boolean {
    return this.#result !== undefined;
  }

  /** Where it stands: the name of the point that it yielded last. */
  get at(): string | undefined {
    return this.#point?.name;
  }

  /** Whether it could go on now. */
  get ready(): boolean {
    return !this.done && this.#point?.ready?.() !== false;
  }

  get result(): T {
    if (this.#result === undefined) throw new Error(`the task stands at "${this.at}"`);
    return this.#result.value;
  }

  /** One step, to the next point or to the end. */
  step(): this {
    if (!this.ready) throw new Error(`the task cannot go on from "${this.at}"`);
    enterTask(this.#id);
    try {
      const { done, value } = this.#op.next();
      if (done === true) this.#result = { value };
      else this.#point = value;
    } finally {
      enterTask(0);
    }
    return this;
  }

  /** Advances until it stands at the point, before anything that comes after it. */
  to(name: string): this {
    do this.step();
    while (!this.done && this.at !== name);
    if (this.done) throw new Error(`the task ended before "${name}"`);
    return this;
  }

  /** Advances until the condition holds, looking after each step. */
  until(condition: () => boolean): this {
    while (!condition()) {
      if (this.done) throw new Error('the task ended before the condition held');
      this.step();
    }
    return this;
  }

  /** Advances as far as it can go alone. True: it waits for another task. */
  blocks(): boolean {
    while (this.ready) this.step();
    return !this.done;
  }

  /** Advances to the end. */
  finish(): T {
    while (!this.done) this.step();
    return this.result;
  }
}

/** Every point that an operation yields when it runs alone. */
export function pointsOf(op: Op<unknown>): string[] {
  const names: string[] = [];
  for (;;) {
    const { done, value } = op.next();
    if (done === true) return names;
    names.push((value as SyncPoint).name);
  }
}
