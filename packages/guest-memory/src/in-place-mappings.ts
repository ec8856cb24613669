import type { Pfn } from './addresses.ts';
import { PAGE_SIZE } from './addresses.ts';
import { assert } from './errors.ts';
import type { Mapping } from './host-memory.ts';
import { type LinearViews, PageView } from './page-view.ts';

/** A frame that is always reachable, handed out as if it had been mapped. */
export class InPlaceMapping implements Mapping {
  readonly pfn: Pfn;
  readonly view: PageView;
  live = false;
  next: InPlaceMapping | undefined;

  constructor(o: { pfn: Pfn; view: PageView }) {
    this.pfn = o.pfn;
    this.view = o.view;
  }
}

/**
 * Maps managed frames, as `kmap()` does on a 64-bit host: nothing happens, and nothing is allocated after the first time.
 * Each frame keeps the mapping objects that were made for it; one that is live is never handed out again.
 */
export class InPlaceMappings {
  readonly #views: LinearViews;
  readonly #spare: (InPlaceMapping | undefined)[];
  #live = 0;

  constructor(o: { views: LinearViews; frames: number }) {
    this.#views = o.views;
    this.#spare = new Array<InPlaceMapping | undefined>(o.frames).fill(undefined);
  }

  get live(): number {
    return this.#live;
  }

  map(pfn: Pfn): InPlaceMapping {
    const mapping = this.#spare[pfn] ?? this.#create(pfn);
    this.#spare[pfn] = mapping.next;
    mapping.live = true;
    this.#live++;
    return mapping;
  }

  unmap(mapping: InPlaceMapping): void {
    assert(mapping.live, `memory: unmap: the mapping of pfn ${mapping.pfn} is not live`);
    mapping.live = false;
    mapping.next = this.#spare[mapping.pfn];
    this.#spare[mapping.pfn] = mapping;
    this.#live--;
  }

  #create(pfn: Pfn): InPlaceMapping {
    return new InPlaceMapping({ pfn, view: new PageView(this.#views, pfn * PAGE_SIZE, PAGE_SIZE) });
  }
}
