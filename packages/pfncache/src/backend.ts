import type { TraceSink } from '@nvmx/guest-memory';
import type { AccessObserver, BackendStatistics, HeldPage, PageBackend, PageRequest, VmMemory } from '@nvmx/mmu-events';
import type { Op } from '@nvmx/sync';
import type { PfnCacheOptions } from './cache-state.ts';
import { PfnCache } from './pfn-cache.ts';
import { type PageContext, PfncachePage } from './pfncache-page.ts';

/** L0 keeps each of L1's pages mapped, and learns from the notifier when one goes away. */
export function createPfncacheBackend(vm: VmMemory, o: { trace?: TraceSink | undefined } = {}): PageBackend {
  return new PfncacheBackend(vm, o);
}

/** The backend as a class, for variants: `createCache()` and `createPage()` say what it is made of. */
export class PfncacheBackend implements PageBackend {
  readonly name: string = 'pfncache';
  readonly statistics: BackendStatistics = { maps: 0, unmaps: 0, checks: 0, refreshes: 0, invalidations: 0 };
  readonly #context: PageContext;
  readonly #trace: TraceSink | undefined;

  constructor(vm: VmMemory, o: { trace?: TraceSink | undefined } = {}) {
    this.#context = { vm, open: new Set(), observer: undefined, closed: false };
    this.#trace = o.trace;
  }

  /** A page with a cache of its own: one owner, so that nobody moves it under `request.vcpu`. */
  openPage(request: PageRequest): HeldPage {
    const cache = this.createCache({
      vm: this.#context.vm,
      access: request.access,
      vcpu: request.usedByHardware ? request.vcpu : 'none',
      statistics: this.statistics,
      trace: this.#trace,
    });
    return this.createPage({ request, cache, context: this.#context });
  }

  observe(observer: AccessObserver | undefined): void {
    this.#context.observer = observer;
    for (const page of this.#context.open) page.observer = observer;
  }

  *close(): Op<void> {
    this.#context.closed = true;
    for (const page of this.#context.open) yield* page.deactivate();
  }

  protected createCache(o: PfnCacheOptions): PfnCache {
    return new PfnCache(o);
  }

  protected createPage(o: { request: PageRequest; cache: PfnCache; context: PageContext }): PfncachePage {
    return new PfncachePage(o);
  }
}
