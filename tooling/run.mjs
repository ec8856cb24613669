#!/usr/bin/env node
// Runs one of the workspace's own binaries: `node tooling/run.mjs vitest run`.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const [binary, ...args] = process.argv.slice(2);
const { status } = spawnSync(`${root}/node_modules/.bin/${binary}`, args, { cwd: root, stdio: 'inherit' });
process.exit(status ?? 1);
