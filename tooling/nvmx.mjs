#!/usr/bin/env node
// `npm run --silent nvmx -- ARGS`: the CLI of this clone, made ready first when it is not.
// stdout belongs to the CLI alone; relative paths count from where npm was called.
import { spawnSync } from 'node:child_process';
import { fileURLToPath, pathToFileURL } from 'node:url';

const setup = fileURLToPath(new URL('setup.mjs', import.meta.url));
const { status } = spawnSync(process.execPath, [setup, 'build'], { stdio: ['ignore', 2, 2] });
if (status !== 0) process.exit(status ?? 130);

const cli = fileURLToPath(new URL('../apps/cli/dist/main.js', import.meta.url));
if (process.env.INIT_CWD) process.chdir(process.env.INIT_CWD);
process.argv[1] = cli;
await import(pathToFileURL(cli).href);
