import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { imageNames, images } from '../index.js';

const bin = fileURLToPath(new URL('../bin/', import.meta.url));
const record = JSON.parse(readFileSync(`${bin}BUILD.json`, 'utf8'));
const MIB = 1 << 20;

/** The program headers that load something: where, and how many bytes of memory. */
function segments(bytes: Buffer): { start: number; end: number }[] {
  const first = Number(bytes.readBigUInt64LE(32));
  const size = bytes.readUInt16LE(54);
  return Array.from({ length: bytes.readUInt16LE(56) }, (_, index) => first + index * size)
    .filter((header) => bytes.readUInt32LE(header) === 1)
    .map((header) => {
      const start = Number(bytes.readBigUInt64LE(header + 24));
      return { start, end: start + Number(bytes.readBigUInt64LE(header + 40)) };
    });
}

describe('images', () => {
  it('the exported names are the files in bin/', () => {
    const files = readdirSync(bin).filter((file) => file.endsWith('.elf'));
    expect(imageNames.map((name) => `${name}.elf`).sort()).toEqual(files.sort());
    expect(Object.keys(images).sort()).toEqual([...imageNames].sort());
  });

  it('README.md has a section on each image', () => {
    const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
    for (const name of imageNames) expect(readme).toContain(`### ${name}.elf`);
  });

  describe.each(imageNames)('%s', (name) => {
    const bytes = readFileSync(images[name]);

    it('is what BUILD.json records', () => {
      expect(createHash('sha256').update(bytes).digest('hex')).toBe(record.images[`${name}.elf`]);
    });

    it('is a static ELF64 executable for x86-64', () => {
      expect(bytes.subarray(0, 6)).toEqual(Buffer.from([0x7f, 0x45, 0x4c, 0x46, 2, 1]));
      expect({ type: bytes.readUInt16LE(16), machine: bytes.readUInt16LE(18) }).toEqual({ type: 2, machine: 62 });
    });

    it('loads at 1 MiB or above, below 4 MiB, and is entered inside', () => {
      const loaded = segments(bytes);
      const entry = Number(bytes.readBigUInt64LE(24));
      expect(loaded.length).toBeGreaterThan(0);
      for (const { start, end } of loaded) {
        expect(start).toBeGreaterThanOrEqual(MIB);
        expect(end).toBeLessThanOrEqual(4 * MIB);
      }
      expect(loaded.some(({ start, end }) => entry >= start && entry < end)).toBe(true);
    });

    it('names no path of the machine that built it', () => {
      const text = bytes.toString('latin1');
      for (const path of ['/work/', '/home/', '/root/', '/tmp/']) expect(text).not.toContain(path);
    });
  });
});
