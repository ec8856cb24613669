import { readFileSync } from 'node:fs';
import type { Pfn } from './addresses.ts';
import { PAGE_SIZE } from './addresses.ts';
import { assert, OperatingError } from './errors.ts';
import type { Mapping } from './host-memory.ts';
import type { LinuxSystem } from './linux-system.ts';
import { type LinearViews, PageView } from './page-view.ts';

export interface WindowsOptions {
  readonly system: LinuxSystem;
  readonly views: LinearViews;
  /** Where the linear memory lies in the process. */
  readonly address: number;
  /** The windows in the linear memory: byte offset of the first, and how many. */
  readonly base: number;
  readonly count: number;
  readonly fd: number;
}

/** A page of the file, mapped over a window. */
export class WindowMapping implements Mapping {
  readonly pfn: Pfn;
  readonly window: number;
  readonly view: PageView;
  live = true;

  constructor(o: { pfn: Pfn; window: number; view: PageView }) {
    this.pfn = o.pfn;
    this.window = o.window;
    this.view = o.view;
  }
}

/**
 * Page-sized places in the linear memory over which pages of the file are mapped. A window without a page holds
 * anonymous zeros, so a use after unmap reads zeros and cannot crash. The window freed last is used first.
 */
export class Windows {
  readonly #o: WindowsOptions;
  readonly #views: (PageView | undefined)[];
  readonly #free: Int32Array;
  readonly #live = new Set<WindowMapping>();
  #freeCount: number;

  constructor(o: WindowsOptions) {
    this.#o = o;
    this.#views = new Array<PageView | undefined>(o.count).fill(undefined);
    this.#free = Int32Array.from({ length: o.count }, (_, index) => o.count - 1 - index);
    this.#freeCount = o.count;
  }

  get live(): number {
    return this.#live.size;
  }

  /** Maps the page of the file at `offset`. Throws OperatingError ENOMEM without a free window or another mapping. */
  map(pfn: Pfn, offset: number): WindowMapping {
    if (this.#freeCount === 0) {
      const details = { pfn, windows: this.#o.count, liveMappings: this.live };
      throw new OperatingError('ENOMEM', `memory: map: pfn ${pfn}: all ${this.#o.count} windows are in use`, details);
    }
    const window = this.#free[this.#freeCount - 1]!;
    const file = { fd: this.#o.fd, offset };
    if (this.#o.system.mmap({ address: this.#address(window), bytes: PAGE_SIZE, file }) === -1) this.#refused(pfn);
    this.#freeCount--;
    const mapping = new WindowMapping({ pfn, window, view: this.#view(window) });
    this.#live.add(mapping);
    return mapping;
  }

  /** Puts anonymous zeros over the window. */
  unmap(mapping: WindowMapping): void {
    assert(mapping.live, `memory: unmap: the mapping of pfn ${mapping.pfn} is not live`);
    if (this.#o.system.mmap({ address: this.#address(mapping.window), bytes: PAGE_SIZE }) === -1) {
      this.#refused(mapping.pfn);
    }
    mapping.live = false;
    this.#live.delete(mapping);
    this.#free[this.#freeCount++] = mapping.window;
  }

  /** Ends every mapping. The caller puts zeros over all windows at once. */
  close(): void {
    for (const mapping of this.#live) mapping.live = false;
    this.#live.clear();
    this.#freeCount = 0;
  }

  #address(window: number): number {
    return this.#o.address + this.#o.base + window * PAGE_SIZE;
  }

  #view(window: number): PageView {
    this.#views[window] ??= new PageView(this.#o.views, this.#o.base + window * PAGE_SIZE, PAGE_SIZE);
    return this.#views[window];
  }

  #refused(pfn: Pfn): never {
    const code = this.#o.system.errno();
    const details = { pfn, liveMappings: this.live, mapCountMax: mapCountMax() };
    const limit = code === 'ENOMEM' ? `; vm.max_map_count is ${details.mapCountMax}` : '';
    const text = `memory: mmap of pfn ${pfn} failed with ${code}; ${this.live} mappings are live${limit}`;
    throw new OperatingError(code, text, details);
  }
}

/** The kernel's bound on the mappings of one process, or undefined where /proc does not say. */
function mapCountMax(): number | undefined {
  try {
    return Number(readFileSync('/proc/sys/vm/max_map_count', 'utf8'));
  } catch {
    return undefined;
  }
}
