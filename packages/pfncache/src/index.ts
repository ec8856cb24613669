export { createPfncacheBackend, PfncacheBackend } from './backend.ts';
export type { PfnCacheOptions } from './cache-state.ts';
export type { InvalidationSnapshot } from './decisions.ts';
export type { RefreshError, RefreshOutcome } from './outcome.ts';
export { PfnCache } from './pfn-cache.ts';
export { type PageContext, PfncachePage } from './pfncache-page.ts';
