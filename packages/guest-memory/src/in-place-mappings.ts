import type { Pfn } from './addresses.ts';
import { PAGE_SIZE } from './addresses.ts';
import { fail } from './errors.ts';
import type { Mapping } from './host-memory.ts';
import { type LinearViews, PageView } from './page-view.ts';

/** A frame that is always reachable, handed out as if it had been mapped. */
export class InPlaceMapping implements Mapping {
  readonly owner: InPlaceMappings;
  readonly pfn: Pfn;
  readonly view: PageView;
  /** The owner's era in which the mapping was handed out; 0 while it is not. */
  era = 0;
  nextSpare: InPlaceMapping | undefined;

  constructor(o: { owner: InPlaceMappings; pfn: Pfn; view: PageView }) {
    this.owner = o.owner;
    this.pfn = o.pfn;
    this.view = o.view;
  }

  get live(): boolean {
    return this.era === this.owner.era;
  }
}

/**
 * Maps managed frames, as `kmap()` does on a 64-bit host: nothing happens, and nothing is allocated after the first time.
 * Each frame keeps the mapping objects that were made for it; one that is live is never handed out again.
 */
export class InPlaceMappings {
  readonly #views: LinearViews;
  readonly #frames: number;
  #spare: (InPlaceMapping | undefined)[];
  #live = 0;
  #era = 1;

  constructor(o: { views: LinearViews; frames: number }) {
    this.#views = o.views;
    this.#frames = o.frames;
    this.#spare = new Array<InPlaceMapping | undefined>(o.frames).fill(undefined);
  }

  get live(): number {
    return this.#live;
  }

  /** Grows when all mappings end at once. */
  get era(): number {
    return this.#era;
  }

  map(pfn: Pfn): InPlaceMapping {
    const mapping = this.#spare[pfn] ?? this.#create(pfn);
    this.#spare[pfn] = mapping.nextSpare;
    mapping.era = this.#era;
    this.#live++;
    return mapping;
  }

  unmap(mapping: InPlaceMapping): void {
    if (mapping.owner !== this) fail('memory: unmap: the mapping comes from another memory');
    if (mapping.era !== this.#era) fail(`memory: unmap: the mapping of pfn ${mapping.pfn} is not live`);
    mapping.era = 0;
    mapping.nextSpare = this.#spare[mapping.pfn];
    this.#spare[mapping.pfn] = mapping;
    this.#live--;
  }

  /** Ends every mapping. */
  endAll(): void {
    this.#era++;
    this.#live = 0;
  }

  /** Ends every mapping and makes no other. */
  close(): void {
    this.endAll();
    this.#spare = [];
  }

  #create(pfn: Pfn): InPlaceMapping {
    if (this.#spare.length === 0) fail('memory: map: the memory is closed');
    if (!(Number.isInteger(pfn) && pfn >= 0 && pfn < this.#frames))
      fail(`memory: map: pfn ${pfn} is not in 0..${this.#frames - 1}`);
    return new InPlaceMapping({ owner: this, pfn, view: new PageView(this.#views, pfn * PAGE_SIZE, PAGE_SIZE) });
  }
}
