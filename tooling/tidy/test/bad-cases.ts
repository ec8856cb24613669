import { entryOf, type Files, manifestOf, readmeOf } from './clean-house.ts';

/** A change of the clean house that breaks one rule, and where the rule must say so. */
export interface BadCase {
  readonly rule: string;
  readonly case: string;
  readonly files: Files;
  readonly found: readonly string[];
}

const sync = 'packages/sync';
const mmu = 'packages/mmu-events';
/** In parts, so that this file keeps the rule itself. */
const spdx = ['SPDX', 'License', 'Identifier'].join('-');
const table = (lines: number): string => `export const rows = [\n${'  1,\n'.repeat(lines)}];\n`;

export const importCases: readonly BadCase[] = [
  {
    rule: 'layers-complete',
    case: 'a library that no layer names',
    files: { 'packages/attic/package.json': manifestOf('attic') },
    found: ['packages/attic'],
  },
  {
    rule: 'imports-downwards',
    case: 'a lower library imports a higher one',
    files: { [`${sync}/src/thing.ts`]: `import { thing } from '@nvmx/mmu-events';\n` },
    found: [`${sync}/src/thing.ts:1`],
  },
  {
    rule: 'imports-downwards',
    case: 'a type-only import, a re-export and a dynamic import count',
    files: {
      [`${sync}/src/thing.ts`]: `import type { A } from '@nvmx/x86';\nexport { b } from '@nvmx/x86';\nawait import('@nvmx/x86');\n`,
    },
    found: [1, 2, 3].map((line) => `${sync}/src/thing.ts:${line}`),
  },
  {
    rule: 'imports-downwards',
    case: 'shipped code imports what only its tests may inject',
    files: {
      'packages/machine/package.json': manifestOf('machine'),
      'packages/machine/src/board.ts': `import '@nvmx/pfncache';\n`,
      'packages/machine/test/board.test.ts': `import '@nvmx/pfncache';\n`,
    },
    found: ['packages/machine/src/board.ts:1'],
  },
  {
    rule: 'imports-downwards',
    case: 'a test imports a library that stands above its own',
    files: { [`${sync}/test/thing.test.ts`]: `import '@nvmx/machine';\n` },
    found: [`${sync}/test/thing.test.ts:1`],
  },
  {
    rule: 'backends-apart',
    case: 'each backend imports the other, one of them in a test',
    files: {
      'packages/host-map/package.json': manifestOf('host-map'),
      'packages/host-map/src/a.ts': `import '@nvmx/pfncache';\n`,
      'packages/pfncache/package.json': manifestOf('pfncache'),
      'packages/pfncache/test/a.test.ts': `import '@nvmx/host-map';\n`,
    },
    found: ['packages/host-map/src/a.ts:1', 'packages/pfncache/test/a.test.ts:1'],
  },
  {
    rule: 'third-party',
    case: 'a library imports a module from the registry',
    files: { [`${sync}/src/thing.ts`]: `import lodash from 'lodash';\n` },
    found: [`${sync}/src/thing.ts:1`],
  },
  {
    rule: 'third-party',
    case: 'koffi outside guest-memory/linux',
    files: {
      'packages/guest-memory/package.json': manifestOf('guest-memory'),
      'packages/guest-memory/src/frames.ts': `import koffi from 'koffi';\n`,
      'packages/guest-memory/src/linux.ts': `import koffi from 'koffi';\n`,
      'packages/guest-memory/src/linux/mmap.ts': `import koffi from 'koffi';\n`,
    },
    found: ['packages/guest-memory/src/frames.ts:1'],
  },
  {
    rule: 'node-imports',
    case: 'a library reads a file, the environment or a Buffer',
    files: {
      [`${sync}/src/thing.ts`]: `import fs from 'node:fs';\nprocess.env.HOME;\nBuffer.from('');\n`,
      'packages/guest-memory/package.json': manifestOf('guest-memory'),
      'packages/guest-memory/src/linux.ts': `import fs from 'node:fs';\n`,
      [`${sync}/test/thing.test.ts`]: `import fs from 'node:fs';\n`,
    },
    found: [1, 2, 3].map((line) => `${sync}/src/thing.ts:${line}`),
  },
  {
    rule: 'node-prefix',
    case: 'a Node module without its prefix',
    files: { 'apps/cli/src/main.ts': `import fs from 'fs';\n` },
    found: ['apps/cli/src/main.ts:1'],
  },
  {
    rule: 'no-deep-import',
    case: "a sibling's file, an entry that is not there, a package that is not there",
    files: {
      [`${mmu}/src/thing.ts`]: `import '@nvmx/sync/src/thing.ts';\nimport '@nvmx/sync/testing';\nimport '@nvmx/gone';\nimport '@nvmx/sync';\n`,
    },
    found: [1, 2, 3].map((line) => `${mmu}/src/thing.ts:${line}`),
  },
  {
    rule: 'relative-inside',
    case: 'a relative path into a sibling, and one without its extension',
    files: { [`${mmu}/src/thing.ts`]: `import '../../sync/src/thing.ts';\nimport './other';\n` },
    found: [1, 2].map((line) => `${mmu}/src/thing.ts:${line}`),
  },
  {
    rule: 'no-require',
    case: 'require, import = and module.exports',
    files: { 'tooling/old.mjs': `const a = require('a');\nimport b = require('b');\nmodule.exports = a;\n` },
    found: [1, 2, 3].map((line) => `tooling/old.mjs:${line}`),
  },
];

export const packageCases: readonly BadCase[] = [
  {
    rule: 'dependencies-declared',
    case: 'shipped code imports a devDependency, a test imports nothing that is declared',
    files: {
      [`${mmu}/package.json`]: manifestOf('mmu-events', { devDependencies: { '@nvmx/sync': 'workspace:^' } }),
      [`${mmu}/test/thing.test.ts`]: `import 'vitest';\nimport 'fast-check';\n`,
    },
    found: [`${mmu}/src/thing.ts:1`, `${mmu}/test/thing.test.ts:2`],
  },
  {
    rule: 'dependencies-used',
    case: 'a dependency that only a test imports, and a devDependency that nothing imports',
    files: {
      [`${sync}/package.json`]: manifestOf('sync', {
        dependencies: { koffi: '3.3.4' },
        devDependencies: { tinybench: '6.2.3' },
      }),
      [`${sync}/test/thing.test.ts`]: `import 'koffi';\n`,
    },
    found: [`${sync}/package.json`, `${sync}/package.json`],
  },
  {
    rule: 'versions-pinned',
    case: 'a range, a tag, a sibling by version, a sibling as peer',
    files: {
      'package.json': JSON.stringify({ packageManager: 'pnpm@10.34.9', devDependencies: { vitest: '^4.1.12' } }),
      [`${mmu}/package.json`]: manifestOf('mmu-events', {
        dependencies: { koffi: 'latest', '@nvmx/sync': '0.1.0' },
        peerDependencies: { '@nvmx/sync': 'workspace:^' },
      }),
    },
    found: ['package.json', `${mmu}/package.json`, `${mmu}/package.json`, `${mmu}/package.json`],
  },
  {
    rule: 'package-manager-pinned',
    case: 'a package manager without its patch version',
    files: { 'package.json': JSON.stringify({ packageManager: 'pnpm@10' }) },
    found: ['package.json'],
  },
  {
    rule: 'package-identity',
    case: 'another name, CommonJS, another license, no sentence, a main field',
    files: {
      [`${sync}/package.json`]: manifestOf('locks', {
        type: 'commonjs',
        license: 'ISC',
        description: 'Locks',
        main: 'dist/index.js',
      }),
    },
    found: Array.from({ length: 5 }, () => `${sync}/package.json`),
  },
  {
    rule: 'library-fields',
    case: 'private, side effects, no engine, no sources, no scripts',
    files: {
      [`${sync}/package.json`]: manifestOf('sync', {
        private: true,
        sideEffects: undefined,
        engines: undefined,
        files: ['dist'],
        scripts: {},
      }),
    },
    found: Array.from({ length: 6 }, () => `${sync}/package.json`),
  },
  {
    rule: 'exports-shape',
    case: 'no exports at all',
    files: { [`${sync}/package.json`]: manifestOf('sync', { exports: undefined }) },
    found: [`${sync}/package.json`],
  },
  {
    rule: 'exports-shape',
    case: 'conditions in another order',
    files: {
      [`${sync}/package.json`]: manifestOf('sync', {
        exports: { '.': Object.fromEntries(Object.entries(entryOf('index')).reverse()) },
      }),
    },
    found: [`${sync}/package.json`],
  },
  {
    rule: 'exports-shape',
    case: 'an entry whose source does not exist and is not built',
    files: {
      [`${sync}/package.json`]: manifestOf('sync', {
        exports: { '.': entryOf('index'), './testing': entryOf('testing') },
      }),
    },
    found: [`${sync}/package.json`, `${sync}/package.json`],
  },
  {
    rule: 'library-files',
    case: 'no README, and no tests but that of the README',
    files: { [`${sync}/README.md`]: undefined, [`${sync}/test/thing.test.ts`]: undefined },
    found: [sync, sync],
  },
  {
    rule: 'release-notes',
    case: 'neither a changeset nor a changelog, in a library and in an app',
    files: {
      '.changeset/sync.md': undefined,
      'apps/cli/package.json': manifestOf('cli'),
      'apps/docs/package.json': manifestOf('docs', { private: true }),
    },
    found: [sync, 'apps/cli'],
  },
  {
    rule: 'release-notes',
    case: 'a changeset for a package that does not exist, and one that says nothing',
    files: {
      '.changeset/gone.md': `---\n"@nvmx/gone": minor\n---\n\nA feature.\n`,
      '.changeset/mute.md': `---\n"@nvmx/sync": patch\n---\n`,
      '.changeset/none.md': `---\n---\n\nFor nobody.\n`,
    },
    found: ['.changeset/gone.md', '.changeset/mute.md', '.changeset/none.md'],
  },
  {
    rule: 'readme-sections',
    case: 'no README',
    files: { [`${sync}/README.md`]: undefined },
    found: [`${sync}/README.md`],
  },
  {
    rule: 'readme-sections',
    case: 'another title, no lead, sections in another order',
    files: {
      [`${sync}/README.md`]: readmeOf('locks')
        .replace('Does one thing, and says which.', '')
        .replace('## Why', '## Install')
        .replace('## Install\n```', '## Why\n```'),
    },
    found: Array.from({ length: 3 }, () => `${sync}/README.md`),
  },
  {
    rule: 'readme-sections',
    case: 'an empty section, and a heading that is only code',
    files: { [`${sync}/README.md`]: readmeOf('sync').replace('Distant.', '').replace('# npm', '## API') },
    found: [`${sync}/README.md`],
  },
  {
    rule: 'readme-usage',
    case: 'a usage snippet that does not import the package',
    files: { [`${sync}/README.md`]: readmeOf('sync').replace("from '@nvmx/sync'", "from './thing'") },
    found: [`${sync}/README.md`],
  },
  {
    rule: 'readme-api',
    case: 'an export that API does not name, though a longer word holds it',
    files: { [`${sync}/README.md`]: readmeOf('sync').replace('| `thing` | the one thing |', '`things`, `something`') },
    found: [`${sync}/README.md`],
  },
  {
    rule: 'index-lists-exports',
    case: 'a package that is not written yet',
    files: { [`${sync}/src/index.ts`]: 'export {};\n' },
    found: [`${sync}/src/index.ts`],
  },
  {
    rule: 'index-lists-exports',
    case: 'code in the index',
    files: { [`${sync}/src/index.ts`]: `export { thing } from './thing.ts';\nexport const more = 1;\n` },
    found: [`${sync}/src/index.ts:2`],
  },
  {
    rule: 'no-star-export',
    case: 'export *, bare and as a namespace',
    files: { [`${sync}/src/index.ts`]: `export * from './thing.ts';\nexport * as all from './thing.ts';\n` },
    found: [`${sync}/src/index.ts:1`, `${sync}/src/index.ts:2`],
  },
  {
    rule: 'no-default-export',
    case: 'both forms, outside of configuration',
    files: {
      [`${sync}/src/thing.ts`]: 'export default function thing() {}\n',
      [`${sync}/src/b.ts`]: 'export default 1;\n',
    },
    found: [`${sync}/src/b.ts:1`, `${sync}/src/thing.ts:1`],
  },
  {
    rule: 'docstrings',
    case: 'an undocumented function, one with an ordinary comment, and one that is not there',
    files: {
      [`${sync}/src/index.ts`]: `export { thing, missing, type Kind, good } from './thing.ts';\n`,
      [`${sync}/src/thing.ts`]:
        'export function thing() {}\n// Kind of thing.\nexport type Kind = 1;\n/** Good. */\nexport const good = 1;\n',
    },
    found: [`${sync}/src/thing.ts:1`, `${sync}/src/index.ts`, `${sync}/src/thing.ts:3`],
  },
  {
    rule: 'docstrings',
    case: 'constants in one block share a docstring; a gap, a comment or a function ends the block',
    files: {
      [`${sync}/src/index.ts`]: `export { A, B, C, D, E, f } from './thing.ts';\n`,
      [`${sync}/src/thing.ts`]:
        '/** One, and two. */\nexport const A = 1;\nexport const B = 2;\n\nexport const C = 3;\n/** Four. */\nexport const D = 4;\n// five\nexport const E = 5;\nexport function f() {}\n',
    },
    found: [5, 9, 10].map((line) => `${sync}/src/thing.ts:${line}`),
  },
  {
    rule: 'docstrings',
    case: 'an undocumented export behind two re-exports and another name',
    files: {
      [`${sync}/src/index.ts`]: `export { thing } from './middle.ts';\n`,
      [`${sync}/src/middle.ts`]: `import { inner } from './thing.ts';\nexport { inner as thing };\n`,
      [`${sync}/src/thing.ts`]: 'export const inner = 1;\n',
    },
    found: [`${sync}/src/thing.ts:1`],
  },
];

export const fileCases: readonly BadCase[] = [
  {
    rule: 'kebab-case',
    case: 'camelCase, snake_case and a capital folder',
    files: { 'apps/cli/src/runGuest.ts': '', 'apps/cli/src/run_guest.ts': '', 'apps/cli/Src/run.ts': '' },
    found: ['apps/cli/Src/run.ts', 'apps/cli/src/runGuest.ts', 'apps/cli/src/run_guest.ts'],
  },
  {
    rule: 'file-length',
    case: '401 lines of code; a table of 500 rows does not count',
    files: {
      'apps/cli/src/long.ts': 'f();\n'.repeat(401),
      'apps/cli/src/edge.ts': 'f();\n'.repeat(400),
      'apps/cli/src/table.ts': table(500),
      'apps/cli/src/both.ts': table(500) + 'f();\n'.repeat(401),
    },
    found: ['apps/cli/src/both.ts', 'apps/cli/src/long.ts'],
  },
  {
    rule: 'file-length',
    case: 'an object of methods is no table',
    files: { 'apps/cli/src/object.ts': `export const o = {\n${'  a() {\n    f();\n  },\n'.repeat(150)}};\n` },
    found: ['apps/cli/src/object.ts'],
  },
  {
    rule: 'no-console',
    case: 'a library prints; an app may',
    files: { [`${sync}/src/thing.ts`]: `\nconsole.log('');\n`, 'apps/cli/src/main.ts': `console.log('');\n` },
    found: [`${sync}/src/thing.ts:2`],
  },
  {
    rule: 'no-clock',
    case: 'each clock; a fixed date and a name in a string are none',
    files: {
      [`${sync}/test/thing.test.ts`]: `Date.now();\nperformance.now();\nnew Date();\nnew Date(0);\nit('Date.now()');\nprocess.hrtime.bigint();\n`,
    },
    found: [1, 2, 3, 6].map((line) => `${sync}/test/thing.test.ts:${line}`),
  },
  {
    rule: 'no-chance',
    case: 'Math.random in a test helper',
    files: { [`${sync}/test/helper.ts`]: 'export const r = () => Math.random();\n' },
    found: [`${sync}/test/helper.ts:1`],
  },
  {
    rule: 'seeded-properties',
    case: 'fc.assert without a seed',
    files: {
      [`${sync}/test/a.prop.test.ts`]: 'fc.assert(p);\n',
      [`${sync}/test/b.prop.test.ts`]: 'fc.assert(p, { seed: 1 });\n',
    },
    found: [`${sync}/test/a.prop.test.ts:1`],
  },
  {
    rule: 'no-only-no-skip',
    case: 'only, skip, todo, on chains and calls; an own method named skip is none',
    files: {
      [`${sync}/test/thing.test.ts`]: `it.only('');\ndescribe.skip('');\ntest.concurrent.only('');\nit.todo('');\ncursor.skip(1);\nit.skipIf(true)('');\n`,
    },
    found: [1, 2, 3, 4].map((line) => `${sync}/test/thing.test.ts:${line}`),
  },
  {
    rule: 'no-module-mocks',
    case: 'vi.mock and vi.doMock',
    files: { [`${sync}/test/thing.test.ts`]: `vi.mock('@nvmx/sync');\nvi.doMock('./a.ts');\nvi.fn();\n` },
    found: [1, 2].map((line) => `${sync}/test/thing.test.ts:${line}`),
  },
];

export const wordCases: readonly BadCase[] = [
  {
    rule: 'no-todo',
    case: 'in a comment, a README and a C file',
    files: { [`${sync}/src/a.ts`]: '// TODO: later\n', 'docs/a.md': 'FIXME\n', 'guests/a.c': '/* XXX */\nint todo;\n' },
    found: ['docs/a.md:1', 'guests/a.c:1', `${sync}/src/a.ts:1`],
  },
  {
    rule: 'sdm-by-name',
    case: 'a section number; a string and a version are none',
    files: {
      [`${sync}/src/a.ts`]: `// SDM volume 3, section 26.3.1.\nconst a = 'SDM 26.3';\n// SDM volume 3, "Checks on VMX controls". Node 20.19 runs it.\n`,
    },
    found: [`${sync}/src/a.ts:1`],
  },
  {
    rule: 'no-pronouns',
    case: 'we and you, in the second line of a comment, too; code and quotations are none',
    files: {
      [`${sync}/src/a.ts`]: `// Here we wait.\n/**\n * What you get.\n */\nconst we = 1; // Invariant I9; "we" is a word; \`my\` another.\n`,
    },
    found: [`${sync}/src/a.ts:1`, `${sync}/src/a.ts:3`],
  },
  {
    rule: 'american-spelling',
    case: 'each family of British forms; American neighbors are none',
    files: {
      'docs/a.md': `behaviour\nserialised\nthe centre\nlabelled\nanalyse\nlicence\n`,
      'docs/b.md':
        'behavior, promise, precise, optimistic, exercise, finalist, license, otherwise, synchronization, controlled\n',
    },
    found: [1, 2, 3, 4, 5, 6].map((line) => `docs/a.md:${line}`),
  },
  {
    rule: 'no-gpl',
    case: 'an SPDX line, a license text, a kernel macro; a plain mention is none',
    files: {
      'guests/a.c': `// ${spdx}: GPL-2.0\n`,
      'guests/b.c': `/* the GNU General ${'Public'} License */\n`,
      'guests/c.c': `EXPORT_SYMBOL_${'GPL'}(kvm_x)\n`,
      'docs/a.md': 'KVM is GPL: facts only.\n',
    },
    found: ['guests/a.c:1', 'guests/b.c:1', 'guests/c.c:1'],
  },
];
