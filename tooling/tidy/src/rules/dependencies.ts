import { isBuiltin } from 'node:module';
import { libraries, type Manifest, pathInRoom, type Room } from '../house.ts';
import type { Rule, Violation } from '../rule.ts';
import { importsOf, isSource } from '../syntax.ts';

const exactVersion = /^\d+\.\d+\.\d+(-[\w.]+)?$/;
const siblingRange = 'workspace:^';

/** `@nvmx/sync` for `@nvmx/sync/testing`, `koffi` for `koffi/indirect`; undefined for relative imports and Node's own. */
function packageOf(specifier: string): string | undefined {
  if (specifier.startsWith('.') || specifier.startsWith('node:') || isBuiltin(specifier)) return undefined;
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
}

/** The packages that the files of a room import, each with the first file and line that does. */
function imported(room: Room, shipped: boolean): ReadonlyMap<string, { path: string; line: number }> {
  const found = new Map<string, { path: string; line: number }>();
  for (const file of room.files.filter(isSource)) {
    if (pathInRoom(room, file).startsWith('src/') !== shipped) continue;
    for (const { specifier, line } of importsOf(file)) {
      const name = packageOf(specifier);
      if (name !== undefined && !found.has(name)) found.set(name, { path: file.path, line });
    }
  }
  return found;
}

const importsAreDeclared: Rule = {
  name: 'dependencies-declared',
  statement: 'what shipped code imports is a dependency; what tests and benchmarks import is at least a devDependency',
  *check(house) {
    const rootTools = Object.keys(house.manifest.devDependencies ?? {});
    for (const room of house.rooms) {
      const { name, dependencies, peerDependencies, devDependencies } = room.manifest;
      const atRunTime = new Set(Object.keys({ ...dependencies, ...peerDependencies }));
      const atHome = new Set([...atRunTime, ...Object.keys(devDependencies ?? {}), ...rootTools, name]);
      const shippedSet = room.manifest.private === true ? atHome : atRunTime;
      yield* undeclared(imported(room, true), shippedSet, 'dependencies');
      yield* undeclared(imported(room, false), atHome, 'devDependencies');
    }
  },
};

function* undeclared(
  sites: ReadonlyMap<string, { path: string; line: number }>,
  declared: ReadonlySet<string | undefined>,
  place: string,
): Generator<Violation> {
  for (const [name, site] of sites) {
    if (!declared.has(name)) yield { ...site, message: `imports ${name}, which is not among the ${place}` };
  }
}

const dependenciesAreUsed: Rule = {
  name: 'dependencies-used',
  statement: 'every dependency of a library is imported by its shipped code, every devDependency by anything in it',
  *check(house) {
    for (const room of libraries(house)) {
      const shipped = imported(room, true);
      const other = imported(room, false);
      const path = `${room.folder}/package.json`;
      for (const name of Object.keys(room.manifest.dependencies ?? {})) {
        if (!shipped.has(name)) yield { path, message: `nothing in src/ imports the dependency ${name}` };
      }
      for (const name of Object.keys(room.manifest.devDependencies ?? {})) {
        if (!shipped.has(name) && !other.has(name))
          yield { path, message: `nothing imports the devDependency ${name}` };
      }
    }
  },
};

const versionsArePinned: Rule = {
  name: 'versions-pinned',
  statement: 'third-party versions are exact, siblings are workspace:^, and no sibling is a peer',
  *check(house) {
    const manifests = [{ folder: '', manifest: house.manifest }, ...house.rooms];
    for (const { folder, manifest } of manifests) {
      const path = folder === '' ? 'package.json' : `${folder}/package.json`;
      for (const [name, range] of installed(manifest)) {
        const sibling = name.startsWith('@nvmx/');
        if (sibling && range !== siblingRange) yield { path, message: `${name} is ${range}, not ${siblingRange}` };
        if (!sibling && !exactVersion.test(range)) yield { path, message: `${name} ${range} is not an exact version` };
      }
      for (const name of Object.keys(manifest.peerDependencies ?? {})) {
        if (name.startsWith('@nvmx/')) yield { path, message: `the sibling ${name} is a peerDependency` };
      }
    }
  },
};

function installed(manifest: Manifest): [string, string][] {
  return Object.entries({ ...manifest.dependencies, ...manifest.devDependencies, ...manifest.optionalDependencies });
}

const packageManagerIsPinned: Rule = {
  name: 'package-manager-pinned',
  statement: 'the root names an exact package manager',
  *check({ manifest }) {
    if (!/^pnpm@\d+\.\d+\.\d+$/.test(manifest.packageManager ?? '')) {
      yield { path: 'package.json', message: `packageManager is ${manifest.packageManager}` };
    }
  },
};

export const dependencyRules: readonly Rule[] = [
  importsAreDeclared,
  dependenciesAreUsed,
  versionsArePinned,
  packageManagerIsPinned,
];
