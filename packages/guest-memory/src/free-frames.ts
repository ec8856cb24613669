import { assert } from './errors.ts';

/** What `FreeFrames.pop()` gives when nothing is left. */
export const NO_FRAME = -1;

/**
 * The free frames of [start, end): the frame freed last comes first, and frames that nobody had yet come after all
 * others, in ascending order. The stack grows with the frames that were freed, never with the range.
 */
export class FreeFrames {
  readonly capacity: number;
  readonly #start: number;
  readonly #end: number;
  readonly #freed: number[] = [];
  #nextFresh: number;

  constructor(o: { start: number; end: number }) {
    assert(o.start <= o.end, () => `frames: the zone [${o.start}, ${o.end}) ends before it starts`);
    this.capacity = o.end - o.start;
    this.#start = o.start;
    this.#end = o.end;
    this.#nextFresh = o.start;
  }

  get count(): number {
    return this.#freed.length + this.#end - this.#nextFresh;
  }

  /** One past the highest frame that was handed out since the start or the last `reset()`. */
  get usedEnd(): number {
    return this.#nextFresh;
  }

  pop(): number {
    const freed = this.#freed.pop();
    if (freed !== undefined) return freed;
    return this.#nextFresh < this.#end ? this.#nextFresh++ : NO_FRAME;
  }

  push(pfn: number): void {
    this.#freed.push(pfn);
  }

  /** Everything is free, in the order of the start. */
  reset(): void {
    this.#freed.length = 0;
    this.#nextFresh = this.#start;
  }
}
