#!/usr/bin/env node
// Builds guests/bin/*.elf from the C and assembly sources, the same bytes each time with the same compiler.
//   node build.mjs                  builds and records the tools and the SHA-256 of each image in bin/BUILD.json
//   node build.mjs --check [DIR]    builds elsewhere and compares with bin/, or with another folder of images
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeHeader } from './headers.mjs';

const room = fileURLToPath(new URL('.', import.meta.url));
const bin = join(room, 'bin');
const recordName = 'BUILD.json';

const compileFlags = [
  '-std=gnu11',
  '-O2',
  '-Wall',
  '-Wextra',
  '-ffreestanding',
  '-fno-pic',
  '-fno-pie',
  '-fno-stack-protector',
  '-fno-asynchronous-unwind-tables',
  '-fno-ident',
  '-fcf-protection=none',
  '-ffunction-sections',
  '-fdata-sections',
  '-mcmodel=small',
  '-mno-sse',
  '-mno-red-zone',
  '-mgeneral-regs-only',
  '-g0',
  '-Iinclude',
  '-Wa,--noexecstack',
  `-ffile-prefix-map=${room}=`,
];
const linkFlags = [
  '-static',
  '-nostdlib',
  '--no-dynamic-linker',
  '--gc-sections',
  '--build-id=none',
  '-z',
  'noexecstack',
];

/** The images: a file images/NAME.c, or a folder images/NAME with several sources. */
function imageSources() {
  const folder = join(room, 'images');
  return readdirSync(folder)
    .sort()
    .map((entry) =>
      statSync(join(folder, entry)).isDirectory()
        ? { name: entry, sources: sourcesIn(`images/${entry}`) }
        : { name: basename(entry, '.c'), sources: [`images/${entry}`] },
    );
}

function sourcesIn(folder) {
  return readdirSync(join(room, folder))
    .filter((file) => /\.[cS]$/.test(file))
    .sort()
    .map((file) => `${folder}/${file}`);
}

/** Runs a tool in the room, so that no path of this machine gets into an image. */
function run(tool, args) {
  const result = spawnSync(tool, args, { cwd: room, encoding: 'utf8', env: { ...process.env, LC_ALL: 'C' } });
  if (result.error) throw new Error(`${tool}: ${result.error.message}`);
  if (result.status !== 0) throw new Error(`${tool} failed\n${result.stderr}`);
  if (result.stderr) console.error(result.stderr.trimEnd());
  return result.stdout;
}

const firstLine = (text) => text.split('\n', 1)[0];
const tools = () => ({ compiler: firstLine(run('gcc', ['--version'])), linker: firstLine(run('ld', ['--version'])) });
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');

/** Builds every image into `target`; answers file name -> SHA-256. */
function buildInto(target) {
  const objects = mkdtempSync(join(tmpdir(), 'nvmx-guests-'));
  try {
    writeHeader(objects);
    const compile = (source) => {
      const object = join(objects, `${source.replaceAll('/', '_')}.o`);
      run('gcc', [...compileFlags, `-I${objects}`, '-c', source, '-o', object]);
      return object;
    };
    const library = sourcesIn('lib').map(compile);
    const digests = {};
    for (const { name, sources } of imageSources()) {
      const image = join(target, `${name}.elf`);
      run('ld', [...linkFlags, '-T', 'link.ld', '-o', image, ...library, ...sources.map(compile)]);
      chmodSync(image, 0o644);
      digests[`${name}.elf`] = sha256(readFileSync(image));
    }
    return digests;
  } finally {
    rmSync(objects, { recursive: true, force: true });
  }
}

function build() {
  mkdirSync(bin, { recursive: true });
  for (const file of readdirSync(bin)) rmSync(join(bin, file));
  const images = buildInto(bin);
  writeFileSync(join(bin, recordName), `${JSON.stringify({ ...tools(), images }, null, 2)}\n`);
  for (const name of Object.keys(images)) console.log(`${name}: ${statSync(join(bin, name)).size} bytes`);
}

/** 0: the committed images are what the sources give. 1: they are not. Another compiler cannot tell, and says so. */
function check(folder) {
  const recorded = JSON.parse(readFileSync(join(folder, recordName), 'utf8'));
  const target = mkdtempSync(join(tmpdir(), 'nvmx-guests-bin-'));
  try {
    const committed = Object.fromEntries(
      Object.keys(recorded.images).map((name) => [name, sha256(readFileSync(join(folder, name)))]),
    );
    const problems = differences(recorded.images, committed, 'the record and the image');
    const { compiler, linker } = tools();
    const built = buildInto(target);
    if (compiler === recorded.compiler && linker === recorded.linker) {
      problems.push(...differences(committed, built, 'the image and what the sources give'));
    } else {
      console.log(`built with ${compiler}, ${linker}; recorded are ${recorded.compiler}, ${recorded.linker}:`);
      console.log('the sources build; the bytes are not compared');
    }
    for (const problem of problems) console.error(`guests: ${problem}`);
    if (problems.length === 0) console.log(`${Object.keys(built).length} images checked`);
    return problems.length === 0 ? 0 : 1;
  } finally {
    rmSync(target, { recursive: true, force: true });
  }
}

function differences(one, other, what) {
  return [...new Set([...Object.keys(one), ...Object.keys(other)])]
    .filter((name) => one[name] !== other[name])
    .map((name) => `${name}: ${what} differ`);
}

const [mode, argument] = process.argv.slice(2);
try {
  if (mode === undefined) build();
  else if (mode === '--check') process.exitCode = check(argument ?? bin);
  else throw new Error(`unknown argument ${mode}; known is --check`);
} catch (error) {
  console.error(`guests: ${error.message}`);
  process.exitCode = 2;
}
