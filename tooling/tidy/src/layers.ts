/**
 * The layers of the house, lowest first: each library and the libraries it stands on.
 * Whatever these stand on themselves is open to it, too. This table is the only place that says so.
 */
export const layers: Readonly<Record<string, readonly string[]>> = {
  sync: [],
  'guest-memory': [],
  'vmx-fields': [],
  'mmu-events': ['guest-memory', 'sync'],
  'host-map': ['mmu-events'],
  pfncache: ['mmu-events'],
  x86: ['guest-memory', 'vmx-fields'],
  'nested-vmx': ['x86', 'mmu-events', 'vmx-fields'],
  machine: ['nested-vmx'],
  explore: ['sync'],
  zoo: ['pfncache', 'host-map', 'nested-vmx', 'explore'],
  trace: ['vmx-fields'],
};

/** What only tests and benchmarks of a library use besides: a backend to inject, the explorer to drive with. */
export const testLayers: Readonly<Record<string, readonly string[]>> = {
  'mmu-events': ['explore'],
  'host-map': ['explore'],
  pfncache: ['explore'],
  'nested-vmx': ['host-map', 'pfncache', 'explore'],
  machine: ['host-map', 'pfncache'],
};

/** Third-party modules that shipped code may import, and the files (paths in the room) that may. */
export const thirdParty: Readonly<Record<string, Readonly<Record<string, RegExp>>>> = {
  'guest-memory': { koffi: /^src\/linux[./-]/ },
  'mmu-events': { vitest: /^src\/testing[./-]/ },
};

/** Shipped code that may use Node.js: the rest also runs in a browser. */
export const nodeFiles = /^(apps\/|guests\/|tooling\/|packages\/guest-memory\/src\/linux[./-])/;

/** The libraries below `name`, itself not included. Throws RangeError for a library that the table does not hold. */
export function below(name: string): ReadonlySet<string> {
  const direct = layers[name];
  if (direct === undefined) throw new RangeError(`layers: no row for ${name}`);
  return new Set(direct.flatMap((lower) => [lower, ...below(lower)]));
}
