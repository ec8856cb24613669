import { type House, houseOf, type Manifest } from '../src/house.ts';

/** Text by path from the root; a path with `undefined` takes the file away. */
export type Files = Readonly<Record<string, string | undefined>>;

/** A manifest that keeps every rule; `change` replaces fields, and `undefined` takes a field away. */
export function manifestOf(
  name: string,
  change: { readonly [K in keyof Manifest]?: Manifest[K] | undefined } = {},
): string {
  return JSON.stringify({
    name: `@nvmx/${name}`,
    description: 'Something in one sentence.',
    license: 'MIT',
    type: 'module',
    sideEffects: false,
    engines: { node: '>=20.19' },
    files: ['dist', 'src'],
    exports: { '.': entryOf('index') },
    scripts: { build: 'tsup', check: 'tsc -p .' },
    ...change,
  });
}

export function entryOf(module: string): Readonly<Record<string, string>> {
  return {
    '@nvmx/source': `./src/${module}.ts`,
    types: `./dist/${module}.d.ts`,
    default: `./dist/${module}.js`,
  };
}

export function readmeOf(name: string): string {
  return [
    `# @nvmx/${name}`,
    'Does one thing, and says which.',
    '## Why\nBecause.',
    '## Install\n```sh\n# npm install\n```',
    `## Usage\n\`\`\`ts\nimport { thing } from '@nvmx/${name}';\n\`\`\``,
    '## API\n| `thing` | the one thing |',
    '## Guarantees and limits\nFew.',
    '## Relation to KVM\nDistant.',
    '',
  ].join('\n\n');
}

const empty = '';

function library(name: string, change: Parameters<typeof manifestOf>[1], thing: string): Files {
  return {
    [`packages/${name}/package.json`]: manifestOf(name, change),
    [`packages/${name}/README.md`]: readmeOf(name),
    [`packages/${name}/tsconfig.json`]: '{}',
    [`packages/${name}/tsup.config.ts`]: `import { library } from '../../tooling/tsup.ts';\nexport default library(['src/index.ts']);\n`,
    [`packages/${name}/src/index.ts`]: `export { thing } from './thing.ts';\n`,
    [`packages/${name}/src/thing.ts`]: thing,
    [`packages/${name}/test/thing.test.ts`]: `import { thing } from '../src/thing.ts';\nthing();\n`,
    [`packages/${name}/test/readme.test.ts`]: `import '@nvmx/${name}';\n`,
    [`.changeset/${name}.md`]: `---\n"@nvmx/${name}": minor\n---\n\nThe first release.\n`,
  };
}

const documented = '/** Does the thing. */\nexport function thing(): void {}\n';

/** A small house that keeps every rule: `mmu-events` over `sync`. */
export const cleanFiles: Files = {
  'package.json': JSON.stringify({ packageManager: 'pnpm@10.34.9', devDependencies: { vitest: '4.1.12' } }),
  'README.md': '# nvmx\n',
  LICENSE: empty,
  ...library('sync', {}, documented),
  ...library(
    'mmu-events',
    { dependencies: { '@nvmx/sync': 'workspace:^' } },
    `import { thing as lower } from '@nvmx/sync';\n\n${documented.replace('{}', '{\n  lower();\n}')}`,
  ),
};

/** The clean house with some files changed, added or taken away. */
export function houseWith(changes: Files): House {
  const files = Object.entries({ ...cleanFiles, ...changes });
  return houseOf(files.flatMap(([path, text]) => (text === undefined ? [] : [{ path, text }])));
}
