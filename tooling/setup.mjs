#!/usr/bin/env node
// Makes a clone ready: `node tooling/setup.mjs` installs what is pinned, `node tooling/setup.mjs build` also builds the
// CLI and what it stands on. Needs Node 20.19 or newer and npm; asks nothing; writes to stderr only, and only when there
// is something to wait for. May be interrupted and run again at any time.
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const binaries = `${root}node_modules/.bin`;
const stamp = `${root}node_modules/.nvmx-installed`;
const quietMs = 1000;

await main();

async function main() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19)) {
    fail(`Node ${process.versions.node} is too old; 20.19 or newer is needed`, 2);
  }
  if (!isInstalled()) await install();
  if (process.argv.includes('build')) {
    await step('build', `${binaries}/turbo`, ['run', 'build', '--filter=@nvmx/cli...', '--output-logs=errors-only']);
  }
}

function isInstalled() {
  return existsSync(`${binaries}/turbo`) && existsSync(stamp) && readFileSync(stamp, 'utf8') === lockfile();
}

function lockfile() {
  return readFileSync(`${root}pnpm-lock.yaml`, 'utf8');
}

/** The stamp goes first and comes last: an install that was interrupted is done again. */
async function install() {
  const { packageManager } = JSON.parse(readFileSync(`${root}package.json`, 'utf8'));
  rmSync(stamp, { force: true });
  await step('install', 'npx', [
    '--yes',
    packageManager,
    'install',
    '--frozen-lockfile',
    '--prefer-offline',
    '--reporter=append-only',
    '--config.confirm-modules-purge=false',
  ]);
  writeFileSync(stamp, lockfile());
}

/** Runs a command to its end. What it prints is held back for a moment: a step with nothing to do stays silent. */
function step(name, command, args) {
  return new Promise((resolve) => {
    const started = Date.now();
    const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'], env: environment() });
    let held = [];
    const show = () => {
      if (held === undefined) return;
      process.stderr.write(`nvmx: ${name}\n`);
      for (const chunk of held) process.stderr.write(chunk);
      held = undefined;
    };
    const timer = setTimeout(show, quietMs);
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => (held === undefined ? process.stderr.write(chunk) : held.push(chunk)));
    }
    child.on('error', (error) => fail(`${name}: cannot run ${command}: ${error.message}`, 1));
    child.on('close', (status, signal) => {
      clearTimeout(timer);
      if (status !== 0) {
        show();
        fail(`${name} failed (${signal ?? `exit code ${status}`}); the same command tries again`, status ?? 130);
      }
      if (held === undefined)
        process.stderr.write(`nvmx: ${name} done in ${((Date.now() - started) / 1000).toFixed(1)} s\n`);
      resolve();
    });
  });
}

/** turbo looks for pnpm on the PATH. Running needs no declaration files. `npm run --silent` must not silence the errors of npx and pnpm. */
function environment() {
  return {
    ...process.env,
    PATH: `${binaries}${delimiter}${process.env.PATH}`,
    npm_config_loglevel: 'error',
    NVMX_TYPES: '0',
    TURBO_TELEMETRY_DISABLED: '1',
    TURBO_NO_UPDATE_NOTIFIER: '1',
  };
}

function fail(message, code) {
  process.stderr.write(`nvmx: ${message}\n`);
  process.exit(code);
}
