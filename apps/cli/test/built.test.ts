import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { images } from '@nvmx/guests';
import { describe, expect, test } from 'vitest';

const bin = fileURLToPath(new URL('../dist/main.js', import.meta.url));
const run = (...given: string[]) => spawnSync(process.execPath, [bin, ...given], { encoding: 'utf8' });

describe.skipIf(!existsSync(bin))('the built command (npm test builds it first)', () => {
  test('runs a guest', () => {
    const { status, stdout, stderr } = run('run', fileURLToPath(images.hello), '--append', 'x=1');
    expect([status, stderr]).toEqual([0, '']);
    expect(stdout).toBe('hello from L1: 64 MiB of memory, command line "x=1"\n');
  });

  test('passes the exit code of a failing guest on', () => {
    const { status, stderr } = run('run', fileURLToPath(images.fail));
    expect([status, stderr]).toEqual([3, 'nvmx: fail.elf: the guest reports failure: exit code 1\n']);
  });

  test('answers a mistake by one line', () => {
    const { status, stdout, stderr } = run('walk');
    expect([status, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(/^nvmx: [^\n]+\n$/);
  });

  test('brings the images that it needs', () => {
    expect(existsSync(new URL('../dist/guests/compare.elf', import.meta.url))).toBe(true);
  });
});
