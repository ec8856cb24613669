import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';

const room = fileURLToPath(new URL('..', import.meta.url));
const bin = join(room, 'bin');
const hasCompiler = spawnSync('gcc', ['--version']).status === 0 && spawnSync('ld', ['--version']).status === 0;
const timeout = 120_000;

const folders: string[] = [];
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

/** A copy of guests/bin that a test may spoil. */
function copyOfImages(): string {
  const folder = mkdtempSync(join(tmpdir(), 'nvmx-guests-test-'));
  folders.push(folder);
  for (const file of readdirSync(bin)) copyFileSync(join(bin, file), join(folder, file));
  return folder;
}

function build(...args: string[]): { status: number | null; text: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(room, 'build.mjs'), ...args], {
    encoding: 'utf8',
  });
  return { status, text: stdout + stderr };
}

function edit(path: string, change: (bytes: Buffer) => Buffer): void {
  writeFileSync(path, change(readFileSync(path)));
}

describe.skipIf(!hasCompiler)('build.mjs --check (needs gcc and ld)', () => {
  it(
    'the committed images are what the sources give',
    () => {
      const { status, text } = build('--check');
      expect(text).toMatch(/6 images checked/);
      expect(status).toBe(0);
    },
    timeout,
  );

  it(
    'an image with one other byte is found, against its record and, by the recorded compiler, against the sources',
    () => {
      const folder = copyOfImages();
      edit(join(folder, 'hello.elf'), (bytes) => {
        bytes[bytes.length - 1]! ^= 1;
        return bytes;
      });
      const { status, text } = build('--check', folder);
      expect(text).toContain('guests: hello.elf: the record and the image differ');
      expect(status).toBe(1);
    },
    timeout,
  );

  it(
    'with another compiler than the recorded one the sources must build, and the bytes are not compared',
    () => {
      const folder = copyOfImages();
      edit(join(folder, 'BUILD.json'), (bytes) => {
        const record = JSON.parse(bytes.toString('utf8'));
        return Buffer.from(JSON.stringify({ ...record, compiler: 'gcc 1.0' }));
      });
      const { status, text } = build('--check', folder);
      expect(text).toContain('recorded are gcc 1.0');
      expect(text).toContain('the bytes are not compared');
      expect(status).toBe(0);
    },
    timeout,
  );
});

describe('build.mjs', () => {
  it('an unknown argument is refused', () => {
    expect(build('--unknown')).toEqual({ status: 2, text: 'guests: unknown argument --unknown; known is --check\n' });
  });
});
