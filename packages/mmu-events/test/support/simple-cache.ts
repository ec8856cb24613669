import { assert, type Gpa, gpaToGfn, type Mapping, OperatingError, type PageView, type Pfn } from '@nvmx/guest-memory';
import { type Op, RwLock, WaitQueue } from '@nvmx/sync';
import type {
  AccessObserver,
  BackendStatistics,
  HeldPage,
  HoldOutcome,
  PageBackend,
  PageRequest,
  RangeCache,
  VmMemory,
} from '../../src/index.ts';

/** A small backend that caches, right in every rule of the contract. Wrong ones override one decision of the page. */
export class SimpleCacheBackend implements PageBackend {
  readonly name: string = 'simple-cache';
  readonly statistics: BackendStatistics = { maps: 0, unmaps: 0, checks: 0, refreshes: 0, invalidations: 0 };
  readonly vm: VmMemory;
  readonly pages: SimpleCachePage[] = [];
  observer: AccessObserver | undefined;
  closed = false;

  constructor(vm: VmMemory) {
    this.vm = vm;
  }

  openPage(request: PageRequest): HeldPage {
    const page = this.createPage(request);
    this.pages.push(page);
    return page;
  }

  createPage(request: PageRequest): SimpleCachePage {
    return new SimpleCachePage(this, request);
  }

  observe(observer: AccessObserver | undefined): void {
    this.observer = observer;
  }

  *close(): Op<void> {
    this.closed = true;
    for (const page of this.pages) yield* page.deactivate();
  }
}

/** One page: a cache on the notifier's list, and the hold on it. */
export class SimpleCachePage implements HeldPage, RangeCache {
  readonly request: PageRequest;
  protected readonly backend: SimpleCacheBackend;
  protected readonly lock = new RwLock('simple cache');
  readonly #quiet = new WaitQueue('simple cache');
  protected mapping: Mapping | undefined;
  protected heldGpa: Gpa | undefined;
  protected valid = false;
  protected epoch = 0;
  protected tag = -1;
  #page = -1;
  #listed = false;
  #using = false;

  constructor(backend: SimpleCacheBackend, request: PageRequest) {
    this.backend = backend;
    this.request = request;
  }

  get vcpu(): number | 'none' {
    return this.request.usedByHardware ? this.request.vcpu : 'none';
  }

  get gpa(): Gpa | undefined {
    return this.heldGpa;
  }

  get pfn(): Pfn {
    assert(this.mapping !== undefined && this.heldGpa !== undefined, 'simple cache: nothing is held');
    return this.mapping.pfn;
  }

  get view(): PageView {
    assert(this.#using && this.mapping !== undefined, 'simple cache: no use');
    return this.mapping.view;
  }

  hvaPage(): number {
    return this.#page;
  }

  *invalidateRange(): Op<void> {
    yield* this.lock.write();
    this.invalidateLocked();
    this.lock.endWrite();
  }

  protected invalidateLocked(): void {
    if (this.valid) {
      this.valid = false;
      this.backend.statistics.invalidations++;
      this.stepEpoch();
    }
  }

  /** Every publication and every invalidation gets a number of its own. */
  protected stepEpoch(): void {
    this.epoch++;
  }

  protected isRight(): boolean {
    return this.valid && this.tag === this.backend.vm.memslots.tag;
  }

  tryHold(gpa: Gpa): boolean {
    this.backend.statistics.checks++;
    return this.heldGpa === gpa && this.isRight();
  }

  *hold(gpa: Gpa): Op<HoldOutcome> {
    if (this.backend.closed) return { ok: false, code: 'EIO' };
    if (this.tryHold(gpa)) return { ok: true };
    this.backend.statistics.refreshes++;
    if (!this.#listed) this.backend.vm.registerCache(this);
    this.#listed = true;
    const token = this.backend.vm.srcu.enter();
    try {
      return yield* this.#refresh(gpa);
    } finally {
      this.backend.vm.srcu.exit(token);
    }
  }

  *#refresh(gpa: Gpa): Op<HoldOutcome> {
    const { vm } = this.backend;
    this.valid = false;
    this.tag = vm.memslots.tag;
    const hva = vm.gfnToHva(gpaToGfn(gpa), { write: this.request.access === 'write' });
    this.#page = hva === undefined ? -1 : hva / 4096;
    if (this.movesInList()) vm.cacheMoved(this);
    for (;;) {
      const { sequence, activeCount } = vm.notifier;
      const pfn = hva === undefined ? undefined : yield* this.#resolve(hva);
      if (pfn === undefined) return this.#fail();
      if (this.mustRetry({ sequence, activeCount })) {
        yield* this.#quiet.wait(() => vm.notifier.activeCount === 0);
        continue;
      }
      if (this.mapping?.pfn !== pfn && !this.#map(pfn)) return this.#fail();
      this.heldGpa = gpa;
      this.valid = true;
      this.stepEpoch();
      return { ok: true };
    }
  }

  protected movesInList(): boolean {
    return true;
  }

  protected mustRetry(before: { sequence: number; activeCount: number }): boolean {
    const { sequence, activeCount } = this.backend.vm.notifier;
    return activeCount !== 0 || before.activeCount !== 0 || sequence !== before.sequence;
  }

  *#resolve(hva: Parameters<VmMemory['host']['fault']>[0]): Op<Pfn | undefined> {
    try {
      return yield* this.backend.vm.host.fault(hva, { write: this.request.access === 'write' });
    } catch (error) {
      if (error instanceof OperatingError) return undefined;
      throw error;
    }
  }

  #map(pfn: Pfn): boolean {
    this.unmap();
    try {
      this.mapping = this.backend.vm.memory.map(pfn);
    } catch (error) {
      if (error instanceof OperatingError) return false;
      throw error;
    }
    this.backend.statistics.maps++;
    return true;
  }

  protected unmap(): void {
    if (this.mapping === undefined) return;
    this.backend.vm.memory.unmap(this.mapping);
    this.mapping = undefined;
    this.backend.statistics.unmaps++;
  }

  #fail(): HoldOutcome {
    this.giveUp();
    return { ok: false, code: 'EFAULT' };
  }

  protected giveUp(): void {
    this.unmap();
    this.valid = false;
    this.heldGpa = undefined;
    this.stepEpoch();
  }

  stamp(): number {
    return this.epoch * 2 ** 20 + this.tag + 1;
  }

  isCurrent(stamp: number): boolean {
    this.backend.statistics.checks++;
    return this.isRight() && stamp === this.stamp();
  }

  beginUse(): boolean {
    this.backend.statistics.checks++;
    assert(!this.#using, 'simple cache: uses do not nest');
    if (!this.lock.tryRead()) return false;
    if (!this.isRight()) {
      this.lock.endRead();
      return false;
    }
    this.#using = true;
    this.backend.observer?.l0Access(this, this.heldGpa!, this.pfn);
    return true;
  }

  endUse(o?: { wrote: boolean }): void {
    assert(this.#using, 'simple cache: no use');
    if (o?.wrote === true) this.markDirty();
    this.#using = false;
    this.lock.endRead();
  }

  protected markDirty(): void {
    this.backend.vm.markDirty(gpaToGfn(this.heldGpa!));
  }

  release(o: { dirty: boolean }): void {
    if (o.dirty && this.isRight()) this.markDirty();
  }

  *deactivate(): Op<void> {
    if (this.#listed) this.backend.vm.unregisterCache(this);
    this.#listed = false;
    this.giveUp();
  }
}
