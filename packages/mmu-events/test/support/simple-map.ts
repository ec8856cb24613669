import { assert, type Gpa, gpaToGfn, type Mapping, OperatingError, type PageView, type Pfn } from '@nvmx/guest-memory';
import type { Op } from '@nvmx/sync';
import type {
  AccessObserver,
  BackendStatistics,
  HeldPage,
  HoldOutcome,
  PageBackend,
  PageRequest,
  VmMemory,
} from '../../src/index.ts';

/** A small backend that maps for each hold and promises no currency. */
export class SimpleMapBackend implements PageBackend {
  readonly name = 'simple-map';
  readonly statistics: BackendStatistics = { maps: 0, unmaps: 0, checks: 0, refreshes: 0, invalidations: 0 };
  readonly vm: VmMemory;
  readonly #pages: SimpleMapPage[] = [];
  observer: AccessObserver | undefined;
  closed = false;

  constructor(vm: VmMemory) {
    this.vm = vm;
  }

  openPage(request: PageRequest): HeldPage {
    const page = new SimpleMapPage(this, request);
    this.#pages.push(page);
    return page;
  }

  observe(observer: AccessObserver | undefined): void {
    this.observer = observer;
  }

  *close(): Op<void> {
    this.closed = true;
    for (const page of this.#pages) yield* page.deactivate();
  }
}

class SimpleMapPage implements HeldPage {
  readonly request: PageRequest;
  readonly #backend: SimpleMapBackend;
  #mapping: Mapping | undefined;
  #gpa: Gpa | undefined;
  #pinned = false;
  #using = false;
  #holds = 0;

  constructor(backend: SimpleMapBackend, request: PageRequest) {
    this.#backend = backend;
    this.request = request;
  }

  get gpa(): Gpa | undefined {
    return this.#gpa;
  }

  get pfn(): Pfn {
    assert(this.#mapping !== undefined, 'simple map: nothing is held');
    return this.#mapping.pfn;
  }

  get view(): PageView {
    assert(this.#using && this.#mapping !== undefined, 'simple map: no use');
    return this.#mapping.view;
  }

  tryHold(gpa: Gpa): boolean {
    this.#backend.statistics.checks++;
    return this.#gpa === gpa;
  }

  *hold(gpa: Gpa): Op<HoldOutcome> {
    this.#giveUp();
    if (this.#backend.closed) return { ok: false, code: 'EIO' };
    const { vm, statistics } = this.#backend;
    statistics.refreshes++;
    const gfn = gpaToGfn(gpa);
    const write = this.request.access === 'write';
    if (vm.gfnToHva(gfn, { write }) === undefined) return { ok: false, code: 'EINVAL' };
    const page = yield* vm.faultIn(gfn, { write });
    if ('error' in page) return { ok: false, code: 'EFAULT' };
    this.#pinned = vm.memory.frames.pin(page.pfn);
    try {
      this.#mapping = vm.memory.map(page.pfn);
    } catch (error) {
      assert(error instanceof OperatingError, 'simple map: map() broke');
      if (this.#pinned) vm.memory.frames.unpin(page.pfn);
      throw error;
    }
    statistics.maps++;
    this.#gpa = gpa;
    this.#holds++;
    return { ok: true };
  }

  stamp(): number {
    return this.#holds;
  }

  isCurrent(stamp: number): boolean {
    this.#backend.statistics.checks++;
    return this.#gpa !== undefined && stamp === this.#holds;
  }

  beginUse(): boolean {
    this.#backend.statistics.checks++;
    if (this.#gpa === undefined) return false;
    this.#using = true;
    this.#backend.observer?.l0Access(this, this.#gpa, this.pfn);
    return true;
  }

  endUse(_o?: { wrote: boolean }): void {
    assert(this.#using, 'simple map: no use');
    this.#using = false;
  }

  release(o: { dirty: boolean }): void {
    if (this.#gpa !== undefined && o.dirty) this.#backend.vm.markDirty(gpaToGfn(this.#gpa));
    this.#giveUp();
  }

  *deactivate(): Op<void> {
    this.#giveUp();
  }

  #giveUp(): void {
    const mapping = this.#mapping;
    this.#gpa = undefined;
    this.#mapping = undefined;
    if (mapping === undefined) return;
    const { vm, statistics } = this.#backend;
    vm.memory.unmap(mapping);
    statistics.unmaps++;
    if (this.#pinned) vm.memory.frames.unpin(mapping.pfn);
  }
}
