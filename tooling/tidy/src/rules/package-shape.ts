import { fileInRoom, libraries, type Room, type TextFile } from '../house.ts';
import type { Rule, Violation } from '../rule.ts';

const sourceCondition = '@nvmx/source';

function manifestPath(room: Room): string {
  return `${room.folder}/package.json`;
}

/** A rule on one package.json at a time: `judge` gives the complaints. */
function manifestRule(
  name: string,
  statement: string,
  rooms: 'libraries' | 'all',
  judge: (room: Room) => Iterable<string>,
): Rule {
  return {
    name,
    statement,
    *check(house) {
      for (const room of rooms === 'all' ? house.rooms : libraries(house)) {
        for (const message of judge(room)) yield { path: manifestPath(room), message };
      }
    },
  };
}

const identity = manifestRule(
  'package-identity',
  'a package is named after its folder, is ESM and MIT, and says in one sentence what it is',
  'all',
  function* ({ folder, manifest }) {
    const expected = `@nvmx/${folder.split('/').at(-1)}`;
    if (manifest.name !== expected) yield `name is ${manifest.name}, not ${expected}`;
    if (manifest.type !== 'module') yield 'type is not module';
    if (manifest.license !== 'MIT') yield `license is ${manifest.license}, not MIT`;
    if (!/^\S.*\.$/.test(manifest.description ?? '')) yield 'description is no sentence';
    if (manifest.main !== undefined || manifest.module !== undefined) yield 'main and module give way to exports';
  },
);

const libraryFields = manifestRule(
  'library-fields',
  'a library is public and free of side effects, ships dist and src, and has the scripts build and check',
  'libraries',
  function* ({ manifest }) {
    if (manifest.private === true) yield 'is private';
    if (manifest.sideEffects !== false) yield 'sideEffects is not false';
    if (manifest.engines?.node === undefined) yield 'engines.node is missing';
    for (const shipped of ['dist', 'src']) {
      if (!manifest.files?.includes(shipped)) yield `files lacks ${shipped}`;
    }
    for (const script of ['build', 'check']) {
      if (manifest.scripts?.[script] === undefined) yield `the script ${script} is missing`;
    }
  },
);

const exportsShape = manifestRule(
  'exports-shape',
  'every entry in exports gives the source condition, then types, then default, all of one module that exists',
  'libraries',
  function* (room) {
    const entries = Object.entries(room.manifest.exports ?? {});
    if (!entries.some(([entry]) => entry === '.')) yield 'exports lacks "."';
    for (const [entry, target] of entries) {
      if (entry !== './package.json') yield* entryComplaints(room, entry, target);
    }
  },
);

function* entryComplaints(room: Room, entry: string, target: unknown): Generator<string> {
  const module = entry === '.' ? 'index' : entry.slice('./'.length);
  const expected = [
    [sourceCondition, `./src/${module}.ts`],
    ['types', `./dist/${module}.d.ts`],
    ['default', `./dist/${module}.js`],
  ];
  if (JSON.stringify(Object.entries(target ?? {})) !== JSON.stringify(expected)) {
    yield `exports["${entry}"] is not ${JSON.stringify(Object.fromEntries(expected))}`;
  }
  if (fileInRoom(room, `src/${module}.ts`) === undefined) yield `src/${module}.ts does not exist`;
  if (!fileInRoom(room, 'tsup.config.ts')?.text.includes(`'src/${module}.ts'`)) {
    yield `tsup.config.ts does not build src/${module}.ts`;
  }
}

const filesOfALibrary: Rule = {
  name: 'library-files',
  statement: 'a library has a README, a tsconfig, a build configuration, tests, and a test that runs its README',
  *check(house) {
    for (const room of libraries(house)) {
      for (const path of ['README.md', 'tsconfig.json', 'tsup.config.ts', 'src/index.ts', 'test/readme.test.ts']) {
        if (fileInRoom(room, path) === undefined) yield { path: room.folder, message: `${path} is missing` };
      }
      const tests = room.files.filter((file) => /\/test\/.*\.test\.ts$/.test(file.path));
      if (tests.every((file) => file.path.endsWith('/readme.test.ts'))) {
        yield { path: room.folder, message: 'has no tests of its own' };
      }
    }
  },
};

const released: Rule = {
  name: 'release-notes',
  statement: 'what is published has a CHANGELOG or a pending changeset, and every changeset names packages that exist',
  *check(house) {
    const pending = house.files.filter((file) => /^\.changeset\/(?!README)[^/]+\.md$/.test(file.path));
    const named = new Set(pending.flatMap((file) => changesetPackages(file)));
    for (const room of house.rooms.filter(({ manifest }) => manifest.private !== true)) {
      if (fileInRoom(room, 'CHANGELOG.md') === undefined && !named.has(room.manifest.name ?? '')) {
        yield { path: room.folder, message: 'has neither a CHANGELOG.md nor a changeset' };
      }
    }
    for (const file of pending) yield* unknownPackages(file, new Set(house.rooms.map((room) => room.manifest.name)));
  },
};

function changesetPackages(file: TextFile): readonly string[] {
  const frontMatter = /^---\n([\s\S]*?)\n?---\n/.exec(file.text)?.[1] ?? '';
  return [...frontMatter.matchAll(/^["']([^"']+)["']: *(?:patch|minor|major)$/gm)].map((match) => match[1] ?? '');
}

function* unknownPackages(file: TextFile, known: ReadonlySet<string | undefined>): Generator<Violation> {
  const names = changesetPackages(file);
  if (names.length === 0) yield { path: file.path, message: 'names no package' };
  for (const name of names.filter((candidate) => !known.has(candidate))) {
    yield { path: file.path, message: `${name} is no package of the house` };
  }
  if (file.text.split('---')[2]?.trim() === '') yield { path: file.path, message: 'tells the user nothing' };
}

export const packageShapeRules: readonly Rule[] = [identity, libraryFields, exportsShape, filesOfALibrary, released];
