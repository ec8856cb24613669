#!/usr/bin/env node
// Checks what would be published, as a stranger would meet it: packs every public package, lints the tarballs with
// publint, installs them together in an empty folder, imports every entry point in Node.js, and type-checks a consumer
// under both module resolutions. Needs the registry, for third-party dependencies only. Build first.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';

const root = fileURLToPath(new URL('..', import.meta.url));
const rootManifest = manifestIn(root);
const work = mkdtempSync(join(tmpdir(), 'nvmx-packages-'));
const problems = [];

try {
  const packages = publicPackages().map(pack);
  for (const one of packages) await lint(one);
  const consumer = install(packages);
  for (const one of packages) importEntries(consumer, one);
  typeCheck(consumer, packages);
} finally {
  rmSync(work, { recursive: true, force: true });
}
for (const problem of problems) console.error(`check:packages: ${problem}`);
console.log(
  `check:packages: ${problems.length === 0 ? 'all packages are fit to publish' : `${problems.length} problems`}`,
);
process.exit(problems.length === 0 ? 0 : 1);

function manifestIn(folder) {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
}

function publicPackages() {
  return ['packages', 'apps']
    .flatMap((group) => readdirSync(join(root, group)).map((name) => join(root, group, name)))
    .map((folder) => ({ folder, manifest: manifestIn(folder) }))
    .filter(({ manifest }) => manifest.private !== true);
}

/** Packs as a release would: pnpm puts real versions where the sources say `workspace:^`. */
function pack({ folder, manifest }) {
  const destination = join(work, manifest.name.replace('/', '-'));
  mkdirSync(destination);
  run(join(root, 'node_modules/.bin/pnpm'), ['pack', '--pack-destination', destination], folder);
  const [name] = readdirSync(destination);
  const tarball = join(destination, name);
  const files = run('tar', ['-tzf', tarball], destination).trim().split('\n');
  for (const needed of ['package/package.json', 'package/README.md', 'package/LICENSE']) {
    if (!files.includes(needed)) problems.push(`${manifest.name}: the tarball lacks ${needed}`);
  }
  const stray = files.filter((file) => /\/(test|bench|node_modules)\/|\.tsbuildinfo$/.test(file));
  if (stray.length > 0) problems.push(`${manifest.name}: the tarball holds ${stray[0]}`);
  return { folder, manifest, tarball };
}

async function lint({ manifest, tarball }) {
  const bytes = readFileSync(tarball);
  const data = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
  const { messages, pkg } = await publint({ strict: true, pack: { tarball: data } });
  for (const message of messages) {
    const line = `${manifest.name}: ${formatMessage(message, pkg, { color: false })}`;
    if (message.type === 'suggestion') console.log(`check:packages: ${line}`);
    else problems.push(line);
  }
}

/** An empty project of somebody else that installs every tarball, and the test runner that contract suites ask for. */
function install(packages) {
  const folder = join(work, 'consumer');
  mkdirSync(folder);
  const { vitest, typescript, '@types/node': node } = rootManifest.devDependencies;
  const tarballs = Object.fromEntries(packages.map(({ manifest, tarball }) => [manifest.name, `file:${tarball}`]));
  const manifest = {
    name: 'consumer',
    private: true,
    type: 'module',
    dependencies: tarballs,
    devDependencies: { '@types/node': node, typescript, vitest },
  };
  writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest));
  run('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline', '--loglevel=error'], folder);
  return folder;
}

/** What a consumer writes to import each entry: `@nvmx/sync`, `@nvmx/guest-memory/linux`. */
function entriesOf({ manifest }) {
  return Object.keys(manifest.exports ?? {})
    .filter((entry) => entry !== './package.json' && !entry.includes('*'))
    .map((entry) => manifest.name + entry.slice(1));
}

function importEntries(consumer, one) {
  for (const entry of entriesOf(one)) {
    const script = `if (Object.keys(await import('${entry}')).length === 0) throw new Error('exports nothing')`;
    attempt(`import ${entry}`, process.execPath, ['--input-type=module', '-e', script], consumer);
  }
  for (const name of Object.keys(one.manifest.bin ?? {})) {
    attempt(`${name} --help`, join(consumer, 'node_modules/.bin', name), ['--help'], consumer);
  }
}

function typeCheck(consumer, packages) {
  const imports = packages.flatMap(entriesOf).map((entry, index) => `import * as entry${index} from '${entry}';`);
  const uses = imports.map((_, index) => `entry${index}`);
  writeFileSync(join(consumer, 'consumer.ts'), `${imports.join('\n')}\nexport const entries = [${uses.join(', ')}];\n`);
  for (const [module, moduleResolution] of [
    ['NodeNext', 'NodeNext'],
    ['ESNext', 'Bundler'],
  ]) {
    const flags = ['--noEmit', '--strict', '--target', 'ES2022', '--types', 'node', '--skipLibCheck', 'false'];
    const resolution = ['--module', module, '--moduleResolution', moduleResolution, 'consumer.ts'];
    attempt(`type check (${module})`, join(consumer, 'node_modules/.bin/tsc'), [...flags, ...resolution], consumer);
  }
}

/** Runs a command whose failure is a finding. */
function attempt(what, command, args, cwd) {
  const { status, stdout, stderr } = spawnSync(command, args, {
    cwd,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  if (status === 0) console.log(`check:packages: ${what}: good`);
  else problems.push(`${what}: ${`${stdout}${stderr}`.trim()}`);
}

/** Runs a command that must succeed, and gives its output. */
function run(command, args, cwd) {
  const { status, stdout, stderr } = spawnSync(command, args, {
    cwd,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} in ${cwd}:\n${stdout}${stderr}`);
  return stdout;
}
