import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { images } from '@nvmx/guests';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { main } from '../src/cli.ts';
import { createConsole } from './console.ts';

const hello = fileURLToPath(images.hello);
let folder: string;

/** A file of the given bytes. */
function file(name: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

/** hello.elf with one byte changed. */
function changed(name: string, at: number, byte: number): string {
  const bytes = Uint8Array.from(readFileSync(hello));
  bytes[at] = byte;
  return file(name, bytes);
}

/** Runs what must fail on its input: one line on stderr, nothing on stdout, exit code 2. */
async function complaint(...given: string[]): Promise<string> {
  const console = createConsole();
  const code = await main(given, console.environment);
  expect([code, console.stdout()]).toEqual([2, '']);
  expect(console.stderr()).toMatch(/^nvmx: [^\n]+\n$/);
  return console.stderr();
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'nvmx-cli-'));
});

afterAll(() => rmSync(folder, { recursive: true }));

describe('a command line that is not usable is one line and exit code 2', () => {
  test.each([
    ['no command', [], 'no command given'],
    ['an unknown command', ['walk'], "unknown command 'walk'"],
    ['an unknown option', ['--walk'], "unknown option '--walk'"],
    ['an unknown option of run', ['run', '--walk', 'a.elf'], "unknown option '--walk'"],
    ['an unknown option of compare', ['compare', '--walk'], "unknown option '--walk'"],
    ['run without an image', ['run'], 'IMAGE is missing'],
    ['run with an empty image', ['run', ''], 'IMAGE is empty'],
    ['run with two images', ['run', 'a.elf', 'b.elf'], "unexpected argument 'b.elf'"],
    ['compare with an image', ['compare', 'a.elf'], "unexpected argument 'a.elf'"],
    ['a size that is none', ['run', hello, '--memory', 'much'], '--memory much is no size'],
    ['too little memory', ['run', hello, '--memory', '2044K'], 'from 2M to 3G'],
    ['too much memory', ['run', hello, '--memory', '3073M'], 'from 2M to 3G'],
    ['half a page', ['run', hello, '--memory', '4196352'], 'whole pages'],
    ['an unknown backend', ['run', hello, '--backend', 'kvm'], 'is no backend'],
    ['two backends for one run', ['run', hello, '--backend', 'host-map,pfncache'], 'is no backend'],
    ['no time at all', ['run', hello, '--timeout', '0'], '--timeout 0'],
    ['a command line that the guest cannot take', ['run', hello, '--append', 'a\tb'], 'printable ASCII'],
    ['a command line that is too long', ['run', hello, '--append', 'a'.repeat(5000)], '5000 characters'],
    ['an unknown backend of compare', ['compare', '--backend', 'pfncache,kvm'], 'kvm is no backend'],
    ['no rounds', ['compare', '--rounds', '0'], '--rounds 0'],
    ['no round trips', ['compare', '--round-trips', '0'], '--round-trips 0'],
    ['an empty memory', ['compare', '--memory', ''], '--memory is empty'],
  ])('%s', async (_case, given, text) => {
    expect(await complaint(...given)).toContain(text);
  });
});

describe('an image that is not usable is one line and exit code 2', () => {
  test('missing', async () => expect(await complaint('run', join(folder, 'none.elf'))).toContain('no such file'));
  test('below a file', async () => expect(await complaint('run', join(hello, 'none.elf'))).toContain('no such file'));
  test('a folder', async () => expect(await complaint('run', folder)).toContain('it is a directory'));
  test('a device', async () => expect(await complaint('run', '/dev/zero')).toContain('neither a file nor a pipe'));
  test('empty', async () => {
    expect(await complaint('run', file('empty.elf', new Uint8Array()))).toContain('not an ELF file');
  });
  test('not ELF', async () => {
    expect(await complaint('run', file('text.elf', Buffer.from('#!/bin/sh\n')))).toContain('not an ELF file');
  });
  test('cut off', async () => {
    expect(await complaint('run', file('cut.elf', readFileSync(hello).subarray(0, 40)))).toContain('ELF header');
  });
  test('32-bit', async () => expect(await complaint('run', changed('32.elf', 4, 1))).toContain('32-bit'));
  test('for another processor', async () => {
    expect(await complaint('run', changed('arm.elf', 18, 183))).toContain('not for x86-64');
  });
  test('larger than memory', async () => {
    const bytes = Uint8Array.from(readFileSync(hello));
    new DataView(bytes.buffer).setBigUint64(64 + 40, 2n ** 31n, true);
    const path = file('large.elf', bytes);
    expect(await complaint('run', path, '--memory', '8M')).toMatch(/^nvmx: large\.elf: .*memory ends at 0x800000/);
  });
});

describe('a memory file that is not usable is one line and exit code 2', () => {
  test('missing', async () => {
    expect(await complaint('compare', '--memory', join(folder, 'none'))).toContain('no such file');
  });
  test('too small', async () => {
    expect(await complaint('compare', '--memory', file('small', new Uint8Array(4096)))).toContain('has 4096 bytes');
  });
  test('a folder', async () => expect(await complaint('compare', '--memory', folder)).toContain('not a regular file'));
});

test('a stack trace comes only with --debug', async () => {
  const console = createConsole();
  expect(await main(['run', 'none.elf', '--debug'], console.environment)).toBe(2);
  expect(console.stderr()).toMatch(/^nvmx: [^\n]+\nUsageError: [\s\S]*\n +at /);
});

test('a defect of nvmx is one line and exit code 70', async () => {
  const { environment, stderr } = createConsole();
  const broken = {
    write: () => {
      throw new RangeError('the stream is broken');
    },
  };
  expect(await main(['--version'], { ...environment, stdout: broken })).toBe(70);
  expect(stderr()).toBe('nvmx: defect of nvmx: the stream is broken (--debug shows where)\n');
});
