import type { TraceSink } from '@nvmx/guest-memory';
import type { AccessObserver, BackendStatistics, HeldPage, PageBackend, PageRequest, VmMemory } from '@nvmx/mmu-events';
import type { Op } from '@nvmx/sync';
import { HostMap, type HostMapOptions } from './host-map.ts';
import { HostMapPage, type PageContext } from './host-map-page.ts';

/** See {@link HostMapOptions}. */
export interface HostMapBackendOptions {
  readonly allowUnsafeMappings?: boolean;
  readonly trace?: TraceSink | undefined;
}

/** L0 maps each of L1's pages when it needs it, and unmaps it at the end of the L2 run. */
export function createHostMapBackend(vm: VmMemory, o: HostMapBackendOptions = {}): PageBackend {
  return new HostMapBackend(vm, o);
}

/** The backend as a class, for variants: `createMap()` and `createPage()` say what it is made of. */
export class HostMapBackend implements PageBackend {
  readonly name: string = 'host-map';
  readonly statistics: BackendStatistics = { maps: 0, unmaps: 0, checks: 0, refreshes: 0, invalidations: 0 };
  readonly #options: HostMapOptions;
  readonly #context: PageContext = { held: new Set(), observer: undefined, closed: false };

  constructor(vm: VmMemory, o: HostMapBackendOptions = {}) {
    this.#options = { vm, ...o, statistics: this.statistics };
  }

  openPage(request: PageRequest): HeldPage {
    return this.createPage({ request, map: this.createMap(this.#options), context: this.#context });
  }

  observe(observer: AccessObserver | undefined): void {
    this.#context.observer = observer;
  }

  *close(): Op<void> {
    this.#context.closed = true;
    for (const page of this.#context.held) yield* page.deactivate();
  }

  protected createMap(o: HostMapOptions): HostMap {
    return new HostMap(o);
  }

  protected createPage(o: { request: PageRequest; map: HostMap; context: PageContext }): HostMapPage {
    return new HostMapPage(o);
  }
}
