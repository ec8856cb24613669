import { readFileSync } from 'node:fs';
import type { Pfn } from './addresses.ts';
import { PAGE_SIZE } from './addresses.ts';
import { fail, OperatingError } from './errors.ts';
import type { Mapping } from './host-memory.ts';
import { MappingReserve } from './linux-reserve.ts';
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

/** Mappings that stay free for the process when windows have taken all others. */
const RESERVED_MAPPINGS = 64;

/** A page of the file, mapped over a window. Each is used once. */
export class WindowMapping implements Mapping {
  readonly owner: Windows;
  readonly pfn: Pfn;
  readonly window: number;
  readonly view: PageView;
  live = true;

  constructor(o: { owner: Windows; pfn: Pfn; window: number; view: PageView }) {
    this.owner = o.owner;
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
  readonly #reserve: MappingReserve;
  readonly #views: (PageView | undefined)[];
  readonly #live = new Set<WindowMapping>();
  #free: number[];

  constructor(o: WindowsOptions) {
    this.#o = o;
    this.#reserve = new MappingReserve(o.system, { count: RESERVED_MAPPINGS });
    this.#views = new Array<PageView | undefined>(o.count).fill(undefined);
    this.#free = descending(o.count);
  }

  get live(): number {
    return this.#live.size;
  }

  /** Maps the page of the file at `offset`. Throws OperatingError ENOMEM without a free window or another mapping. */
  map(pfn: Pfn, offset: number): WindowMapping {
    const window = this.#free.pop() ?? this.#exhausted(pfn);
    if (!this.#reserve.take() || !this.#place(window, offset)) this.#unplaced(pfn, window);
    this.#views[window] ??= new PageView(this.#o.views, this.#o.base + window * PAGE_SIZE, PAGE_SIZE);
    const mapping = new WindowMapping({ owner: this, pfn, window, view: this.#views[window] });
    this.#live.add(mapping);
    return mapping;
  }

  /** Puts anonymous zeros over the window. */
  unmap(mapping: WindowMapping): void {
    if (mapping.owner !== this) fail('memory: unmap: the mapping comes from another memory');
    if (!mapping.live) fail(`memory: unmap: the mapping of pfn ${mapping.pfn} is not live`);
    const done = this.#clear(mapping.window, 1) || (this.#reserve.give() && this.#clear(mapping.window, 1));
    if (!done) this.#refused('unmap', mapping.pfn);
    mapping.live = false;
    this.#live.delete(mapping);
    this.#free.push(mapping.window);
  }

  /** Ends every mapping. */
  endAll(): void {
    if (this.#live.size === 0) return;
    this.#reserve.give();
    if (!this.#clear(0, this.#o.count)) this.#refused('unmap', undefined);
    for (const mapping of this.#live) mapping.live = false;
    this.#live.clear();
    this.#free = descending(this.#o.count);
  }

  /** Ends every mapping and makes no other. */
  close(): void {
    this.endAll();
    this.#reserve.give();
    this.#free = [];
  }

  #place(window: number, offset: number): boolean {
    const file = { fd: this.#o.fd, offset };
    return this.#o.system.mmap({ address: this.#address(window), bytes: PAGE_SIZE, file }) !== -1;
  }

  #clear(window: number, count: number): boolean {
    return this.#o.system.mmap({ address: this.#address(window), bytes: count * PAGE_SIZE }) !== -1;
  }

  #address(window: number): number {
    return this.#o.address + this.#o.base + window * PAGE_SIZE;
  }

  #exhausted(pfn: Pfn): never {
    const details = { pfn, windows: this.#o.count, liveMappings: this.live };
    throw new OperatingError('ENOMEM', `memory: map: pfn ${pfn}: all ${this.#o.count} windows are in use`, details);
  }

  #unplaced(pfn: Pfn, window: number): never {
    this.#free.push(window);
    return this.#refused('map', pfn);
  }

  /** Reads errno, then makes room, so that the process can undo mappings and build the error. */
  #refused(operation: string, pfn: Pfn | undefined): never {
    const code = this.#o.system.errno();
    this.#reserve.give();
    const mapCountMax = readMapCountMax();
    const limit = code === 'ENOMEM' ? `, and vm.max_map_count is ${mapCountMax}` : '';
    const place = pfn === undefined ? '' : `pfn ${pfn}: `;
    const text = `memory: ${operation}: ${place}mmap failed with ${code}: ${this.live} windows are mapped${limit}`;
    throw new OperatingError(code, text, { pfn, liveMappings: this.live, mapCountMax });
  }
}

/** So that the lowest window is used first. */
function descending(count: number): number[] {
  return Array.from({ length: count }, (_, index) => count - 1 - index);
}

/** The kernel's bound on the mappings of one process, or undefined where /proc does not say. */
function readMapCountMax(): number | undefined {
  try {
    return Number(readFileSync('/proc/sys/vm/max_map_count', 'utf8'));
  } catch {
    return undefined;
  }
}
