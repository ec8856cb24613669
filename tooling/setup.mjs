#!/usr/bin/env node
// Makes a fresh clone ready: installs with the pinned pnpm when the lockfile changed, then builds what is stale.
// Needs Node 20.19 or newer and npm; asks nothing; says what it does.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const stamp = `${root}/node_modules/.nvmx-installed`;
const lockfile = readFileSync(`${root}/pnpm-lock.yaml`, 'utf8');
const { packageManager } = JSON.parse(readFileSync(`${root}/package.json`, 'utf8'));

const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 19)) {
  console.error(`nvmx: Node ${process.versions.node} is too old; 20.19 or newer is needed`);
  process.exit(2);
}

if (!existsSync(stamp) || readFileSync(stamp, 'utf8') !== lockfile) {
  step('install', 'npx', ['-y', packageManager, 'install', '--frozen-lockfile']);
  writeFileSync(stamp, lockfile);
}
if (process.argv.includes('build')) {
  step('build', `${root}/node_modules/.bin/turbo`, ['run', 'build', '--output-logs=new-only', '--log-order=stream']);
}

function step(name, command, args) {
  console.error(`nvmx: ${name}`);
  const started = Date.now();
  const { status } = spawnSync(command, args, {
    cwd: root,
    stdio: ['ignore', 2, 2],
    env: { ...process.env, TURBO_TELEMETRY_DISABLED: '1', TURBO_NO_UPDATE_NOTIFIER: '1' },
  });
  if (status !== 0) process.exit(status ?? 1);
  console.error(`nvmx: ${name} done in ${((Date.now() - started) / 1000).toFixed(1)} s`);
}
