import { fail } from './assert.ts';
import { mightSleep, observer } from './lock-observer.ts';
import type { Op, SyncPoint } from './sync-point.ts';

/** Names one read section, from `enter()` to `exit()`. */
export type SrcuToken = number;

/**
 * Readers that never wait, and a writer that waits until every reader who was inside is gone, as `struct srcu_struct`.
 *
 * Unlike synchronize_srcu(): `synchronize()` waits for exactly the sections that began before it was called, and for no
 * later one. That is the least that SRCU promises, so code that is right here does not lean on an accident.
 */
export class Srcu {
  readonly kind = 'srcu';
  readonly name: string;
  #nextToken = 1;
  /** Tokens of the open sections, in no order. A handful: one for each vCPU and task inside. */
  readonly #open: SrcuToken[] = [];
  readonly #spare: GracePeriod[] = [];

  constructor(name: string) {
    this.name = name;
  }

  /** Read sections that are open now. */
  get readers(): number {
    return this.#open.length;
  }

  /** Begins a read section. Never waits; sections nest, each with a token of its own. */
  enter(): SrcuToken {
    const token = this.#nextToken++;
    this.#open.push(token);
    if (observer !== undefined) observer.acquired(this, 'shared');
    return token;
  }

  /** Ends the section of `token`. Throws AssertionError unless it is open, so that no section ends twice. */
  exit(token: SrcuToken): void {
    const open = this.#open;
    const at = open.lastIndexOf(token);
    if (at === -1) fail(`srcu ${this.name}: exit(${token}), but that section is not open`);
    const last = open.pop()!;
    if (at < open.length) open[at] = last;
    if (observer !== undefined) observer.released(this, 'shared');
  }

  /** Waits until each section that was open at the call is over. May sleep. Yields at least once. */
  *synchronize(): Op<void> {
    const gracePeriod = this.#spare.pop() ?? new GracePeriod(this.name, this.#open);
    mightSleep(gracePeriod.name);
    if (observer !== undefined) observer.acquiring?.(this, 'exclusive');
    gracePeriod.end = this.#nextToken;
    try {
      do yield gracePeriod;
      while (!gracePeriod.ready());
    } finally {
      this.#spare.push(gracePeriod);
    }
  }
}

/** Waits for the sections with a token below `end`. Kept for reuse: concurrent synchronizers have one each. */
class GracePeriod implements SyncPoint {
  readonly kind = 'wait';
  readonly name: string;
  end = 0;
  readonly #open: readonly SrcuToken[];

  constructor(name: string, open: readonly SrcuToken[]) {
    this.name = `synchronize ${name}`;
    this.#open = open;
  }

  ready(): boolean {
    for (const token of this.#open) if (token < this.end) return false;
    return true;
  }
}
