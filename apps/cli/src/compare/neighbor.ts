import { type Hva, PAGE_SIZE } from '@nvmx/guest-memory';
import type { HostAddressSpace } from '@nvmx/mmu-events';
import { drive } from '@nvmx/sync';

const PATTERN = 0x5a;

/** How many pages the neighbor keeps. */
export const NEIGHBOR_PAGES = 32;

/**
 * Somebody else's memory on the same host: takes each frame that an event frees, as a busy host would, and notices when
 * what it wrote there does not stay. Gives its oldest frame back for each new one.
 */
export class Neighbor {
  /** Frames whose content somebody changed. */
  corruptedPages = 0;
  readonly #host: HostAddressSpace;
  readonly #start: Hva;
  readonly #pattern = new Uint8Array(PAGE_SIZE).fill(PATTERN);
  readonly #found = new Uint8Array(PAGE_SIZE);
  #next = 0;
  readonly #taken: boolean[] = [];

  constructor(host: HostAddressSpace) {
    this.#host = host;
    this.#start = host.mmap({ pages: NEIGHBOR_PAGES + 1 });
  }

  /** Takes the frame that was freed last, then gives back the oldest one. */
  takeFreedFrame(): void {
    const page = this.#next;
    this.#next = (this.#next + 1) % (NEIGHBOR_PAGES + 1);
    drive(this.#host.write(this.#hva(page), this.#pattern));
    this.#taken[page] = true;
    this.#giveBack(this.#next);
  }

  /** Looks at every frame that is left, and gives it back. */
  leave(): void {
    for (let page = 0; page <= NEIGHBOR_PAGES; page++) this.#giveBack(page);
  }

  #giveBack(page: number): void {
    if (this.#taken[page] !== true) return;
    this.#taken[page] = false;
    const start = this.#hva(page);
    drive(this.#host.read(start, this.#found));
    if (this.#found.some((byte) => byte !== PATTERN)) this.corruptedPages++;
    drive(this.#host.discard({ start, end: (start + PAGE_SIZE) as Hva }));
  }

  #hva(page: number): Hva {
    return (this.#start + page * PAGE_SIZE) as Hva;
  }
}
