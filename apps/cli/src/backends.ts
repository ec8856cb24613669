import { createHostMapBackend } from '@nvmx/host-map';
import type { PageBackend, VmMemory } from '@nvmx/mmu-events';
import { createPfncacheBackend } from '@nvmx/pfncache';

const factories = {
  'host-map': createHostMapBackend,
  pfncache: createPfncacheBackend,
} as const;

/** A way in which L0 reaches L1's pages. */
export type BackendName = keyof typeof factories;

export const backendNames = Object.keys(factories) as readonly BackendName[];

export function isBackendName(text: string): text is BackendName {
  return Object.hasOwn(factories, text);
}

/** What makes backends of this name. */
export function backendFactory(name: BackendName): (vm: VmMemory) => PageBackend {
  return factories[name];
}
