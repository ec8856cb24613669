import type { BackendStatistics } from '@nvmx/mmu-events';

/** What a backend did during a phase: the names of BackendStatistics. */
export type Counters = { readonly [name in keyof BackendStatistics]: number };

export const counterNames = [
  'maps',
  'unmaps',
  'checks',
  'refreshes',
  'invalidations',
] as const satisfies readonly (keyof BackendStatistics)[];

export function snapshot(statistics: BackendStatistics): Counters {
  return fromEach((name) => statistics[name]);
}

export function difference(end: Counters, begin: Counters): Counters {
  return fromEach((name) => end[name] - begin[name]);
}

export function sum(...parts: readonly Counters[]): Counters {
  return fromEach((name) => parts.reduce((total, part) => total + part[name], 0));
}

function fromEach(value: (name: keyof Counters) => number): Counters {
  const [maps, unmaps, checks, refreshes, invalidations] = counterNames.map(value);
  return { maps: maps!, unmaps: unmaps!, checks: checks!, refreshes: refreshes!, invalidations: invalidations! };
}

/** The middle one, or the mean of the middle two. Throws RangeError without samples. */
export function median(samples: readonly number[]): number {
  if (samples.length === 0) throw new RangeError('median: there are no samples');
  const sorted = [...samples].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
