#!/usr/bin/env node
// Runs one of the workspace's own binaries from the root, with the others on its PATH: `node tooling/run.mjs vitest run`.
import { spawnSync } from 'node:child_process';
import { delimiter } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const binaries = `${root}node_modules/.bin`;
const [binary, ...args] = process.argv.slice(2);
const { status, error } = spawnSync(`${binaries}/${binary}`, args, {
  cwd: root,
  stdio: 'inherit',
  env: { ...process.env, PATH: `${binaries}${delimiter}${process.env.PATH}`, TURBO_TELEMETRY_DISABLED: '1' },
});
if (error !== undefined)
  console.error(`nvmx: cannot run ${binary}: ${error.message}; run npm test or npm run demo first`);
process.exit(status ?? 1);
