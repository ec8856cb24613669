import { isBuiltin } from 'node:module';
import { posix } from 'node:path';
import ts from 'typescript';
import { type House, libraries, pathInRoom, type Room, type TextFile } from '../house.ts';
import { below, layers, nodeFiles, testLayers, thirdParty } from '../layers.ts';
import type { Rule } from '../rule.ts';
import { type ImportSite, importsOf, isSource, lineOf, memberAccess, nodes, tree } from '../syntax.ts';

const scope = '@nvmx/';
const sharedBuild = 'tooling/tsup.ts';

/** `pfncache` for `packages/pfncache` and for `@nvmx/pfncache/testing`. */
function shortName(text: string): string {
  return (text.startsWith(scope) ? text.slice(scope.length) : text.replace(/^packages\//, '')).split('/')[0] ?? '';
}

function isShipped(room: Room, file: TextFile): boolean {
  return isSource(file) && pathInRoom(room, file).startsWith('src/');
}

function* importSites(room: Room): Generator<ImportSite & { file: TextFile }> {
  for (const file of room.files.filter(isSource)) {
    for (const site of importsOf(file)) yield { ...site, file };
  }
}

const everyLibraryHasALayer: Rule = {
  name: 'layers-complete',
  statement: 'every folder in packages/ has a row in the table of layers',
  *check(house) {
    for (const room of libraries(house)) {
      if (layers[shortName(room.folder)] === undefined) {
        yield { path: room.folder, message: 'has no row in tooling/tidy/src/layers.ts' };
      }
    }
  },
};

const importsPointDownwards: Rule = {
  name: 'imports-downwards',
  statement: 'a library imports only libraries of the layers below it; its tests may inject what the table names',
  *check(house) {
    for (const room of libraries(house).filter((candidate) => layers[shortName(candidate.folder)] !== undefined)) {
      const self = shortName(room.folder);
      const lower = below(self);
      const inTests = new Set([...lower, self, ...(testLayers[self] ?? []).flatMap((name) => [name, ...below(name)])]);
      for (const { specifier, line, file } of importSites(room)) {
        const allowed = isShipped(room, file) ? lower : inTests;
        if (specifier.startsWith(scope) && !allowed.has(shortName(specifier))) {
          yield { path: file.path, line, message: `${self} may not import ${specifier}` };
        }
      }
    }
  },
};

const backendsApart: Rule = {
  name: 'backends-apart',
  statement: 'host-map and pfncache never import each other, not even in tests',
  *check(house) {
    for (const [self, other] of [
      ['host-map', 'pfncache'],
      ['pfncache', 'host-map'],
    ] as const) {
      for (const room of libraries(house).filter((candidate) => shortName(candidate.folder) === self)) {
        for (const { specifier, line, file } of importSites(room)) {
          if (shortName(specifier) === other) yield { path: file.path, line, message: `${self} imports ${other}` };
        }
      }
    }
  },
};

const thirdPartyByTable: Rule = {
  name: 'third-party',
  statement:
    'shipped library code imports no third-party module, but koffi in guest-memory/linux and vitest in contract suites',
  *check(house) {
    for (const room of libraries(house)) {
      for (const { specifier, line, file } of importSites(room)) {
        const outside = !specifier.startsWith('.') && !specifier.startsWith(scope) && !isNode(specifier);
        if (outside && isShipped(room, file) && !mayUse(room, file, specifier)) {
          yield { path: file.path, line, message: `imports ${specifier}` };
        }
      }
    }
  },
};

function mayUse(room: Room, file: TextFile, specifier: string): boolean {
  return thirdParty[shortName(room.folder)]?.[specifier]?.test(pathInRoom(room, file)) === true;
}

function isNode(specifier: string): boolean {
  return specifier.startsWith('node:') || isBuiltin(specifier);
}

const nodeOnlyWhereAllowed: Rule = {
  name: 'node-imports',
  statement:
    'node: modules and globals stay in apps, guests, tooling and guest-memory/linux: other libraries run in a browser',
  *check(house) {
    for (const room of house.rooms) {
      for (const file of room.files.filter(
        (candidate) => isShipped(room, candidate) && !nodeFiles.test(candidate.path),
      )) {
        for (const { specifier, line } of importsOf(file)) {
          if (isNode(specifier)) yield { path: file.path, line, message: `imports ${specifier}` };
        }
        for (const node of nodes(tree(file))) {
          const access = memberAccess(node);
          if (access !== undefined && /^(process|Buffer)\./.test(access)) {
            yield { path: file.path, line: lineOf(file, node), message: `uses ${access}` };
          }
        }
      }
    }
  },
};

const nodePrefix: Rule = {
  name: 'node-prefix',
  statement: "Node's own modules are imported with their node: prefix",
  *check(house) {
    for (const file of house.files.filter(isSource)) {
      for (const { specifier, line } of importsOf(file)) {
        if (isBuiltin(specifier) && !specifier.startsWith('node:')) {
          yield { path: file.path, line, message: `write node:${specifier}` };
        }
      }
    }
  },
};

const siblingsByEntry: Rule = {
  name: 'no-deep-import',
  statement: 'a sibling is imported by an entry that its exports name',
  *check(house) {
    for (const file of house.files.filter(isSource)) {
      for (const { specifier, line } of importsOf(file)) {
        if (specifier.startsWith(scope) && !isEntry(house, specifier)) {
          yield { path: file.path, line, message: `${specifier} is no entry of its package` };
        }
      }
    }
  },
};

function isEntry(house: House, specifier: string): boolean {
  const [, name = '', ...rest] = specifier.split('/');
  const room = house.rooms.find((candidate) => candidate.manifest.name === scope + name);
  const entry = ['.', ...rest].join('/');
  return Object.keys(room?.manifest.exports ?? {}).some((pattern) => {
    const [head = '', tail] = pattern.split('*');
    return tail === undefined ? entry === head : entry.startsWith(head) && entry.endsWith(tail);
  });
}

const relativeStaysInside: Rule = {
  name: 'relative-inside',
  statement:
    'a relative import stays inside its package (the shared build configuration excepted) and carries its extension',
  *check(house) {
    for (const room of house.rooms) {
      for (const { specifier, line, file } of importSites(room)) {
        if (!specifier.startsWith('.')) continue;
        const target = posix.join(posix.dirname(file.path), specifier);
        const inside = target.startsWith(`${room.folder}/`) || target === sharedBuild;
        if (!inside) yield { path: file.path, line, message: `${specifier} leaves ${room.folder}` };
        if (!/\.(ts|mts|mjs|js|json|vue|css)$/.test(specifier)) {
          yield { path: file.path, line, message: `${specifier} lacks its extension` };
        }
      }
    }
  },
};

const esmOnly: Rule = {
  name: 'no-require',
  statement: 'code is ESM only: no require(), no module.exports, no import = ',
  *check(house) {
    for (const file of house.files.filter(isSource)) {
      for (const node of nodes(tree(file))) {
        const required =
          ts.isCallExpression(node) && ts.isIdentifier(node.expression) && node.expression.text === 'require';
        if (required || ts.isImportEqualsDeclaration(node) || memberAccess(node) === 'module.exports') {
          yield { path: file.path, line: lineOf(file, node), message: 'CommonJS' };
        }
      }
    }
  },
};

export const importRules: readonly Rule[] = [
  everyLibraryHasALayer,
  importsPointDownwards,
  backendsApart,
  thirdPartyByTable,
  nodeOnlyWhereAllowed,
  nodePrefix,
  siblingsByEntry,
  relativeStaysInside,
  esmOnly,
];
