import type { BackendStatistics } from '@nvmx/mmu-events';
import { type Counters, difference, snapshot } from './statistics.ts';

interface Moment {
  readonly milliseconds: number;
  readonly counters: Counters;
}

/** Watches one phase of the guest, from one marker to another: how long it took, and what the backend did. */
export class PhaseWatch {
  readonly #begin: number;
  readonly #end: number;
  #begun: Moment | undefined;
  #ended: Moment | undefined;

  constructor(o: { readonly begin: number; readonly end: number }) {
    this.#begin = o.begin;
    this.#end = o.end;
  }

  /** A marker of the guest arrived. Markers of other phases are passed over. */
  mark(marker: number, now: { readonly milliseconds: number; readonly statistics: BackendStatistics }): void {
    const moment = { milliseconds: now.milliseconds, counters: snapshot(now.statistics) };
    if (marker === this.#begin) this.#begun = moment;
    if (marker === this.#end) this.#ended = moment;
  }

  /** The guest is between the two markers. */
  get isRunning(): boolean {
    return this.#begun !== undefined && this.#ended === undefined;
  }

  /** Throws Error when the guest did not pass both markers. */
  get milliseconds(): number {
    const { begun, ended } = this.#complete();
    return ended.milliseconds - begun.milliseconds;
  }

  /** What the backend did meanwhile. Throws Error as `milliseconds` does. */
  get counters(): Counters {
    const { begun, ended } = this.#complete();
    return difference(ended.counters, begun.counters);
  }

  #complete(): { begun: Moment; ended: Moment } {
    if (this.#begun === undefined || this.#ended === undefined) {
      throw new Error(`the guest did not pass the markers ${this.#begin} and ${this.#end}`);
    }
    return { begun: this.#begun, ended: this.#ended };
  }
}
