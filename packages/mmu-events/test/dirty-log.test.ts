import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DirtyLog, forEachRun } from '../src/dirty-log.ts';

describe('DirtyLog', () => {
  test.each([
    [1, 8],
    [64, 8],
    [65, 16],
    [128, 16],
  ])('a log of %i pages has whole 64-bit words: %i bytes', (pages, bytes) => {
    expect(new DirtyLog(pages).harvest()).toHaveLength(bytes);
  });

  test('a mark is in the next harvest and in no later one, at each page of a word and beyond', () => {
    const log = new DirtyLog(130);
    for (const page of [0, 1, 7, 8, 63, 64, 129]) {
      log.mark(page);
      log.mark(page);
      expect(log.isDirty(page)).toBe(true);
      const bitmap = log.harvest();
      expect(bitmap[page >> 3]).toBe(1 << (page & 7));
      expect(bitmap.reduce((sum, byte) => sum + byte, 0)).toBe(1 << (page & 7));
      expect(log.isDirty(page)).toBe(false);
    }
    expect(log.harvest().every((byte) => byte === 0)).toBe(true);
  });

  test('a harvest that was handed out does not change any more', () => {
    const log = new DirtyLog(8);
    log.mark(1);
    const bitmap = log.harvest();
    log.mark(2);
    expect(bitmap[0]).toBe(2);
  });

  test('a page outside is asserted', () => {
    const log = new DirtyLog(8);
    expect(() => log.mark(8)).toThrow('not in 0..7');
    expect(() => log.mark(-1)).toThrow('not in 0..7');
  });

  test('a bitmap that cannot be had is ENOMEM', () => {
    expect(() => new DirtyLog(2 ** 52)).toThrow(expect.objectContaining({ code: 'ENOMEM' }));
  });
});

describe('forEachRun()', () => {
  function runs(bitmap: Uint8Array): [number, number][] {
    const found: [number, number][] = [];
    forEachRun(bitmap, (start, end) => found.push([start, end]));
    return found;
  }

  test.each<[string, number[], [number, number][]]>([
    ['nothing', [0, 0], []],
    ['one bit', [0, 4], [[10, 11]]],
    ['a run over a byte border', [0x80, 0x01], [[7, 9]]],
    ['everything', [0xff, 0xff], [[0, 16]]],
    [
      'two runs',
      [0x05, 0],
      [
        [0, 1],
        [2, 3],
      ],
    ],
    ['the last bit', [0, 0x80], [[15, 16]]],
  ])('%s', (_case, bytes, expected) => {
    expect(runs(Uint8Array.from(bytes))).toEqual(expected);
  });

  test('runs are the set bits, in order, none twice, none adjacent', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 12 }), (bitmap) => {
        const bits = [...bitmap].flatMap((byte, i) =>
          [0, 1, 2, 3, 4, 5, 6, 7].filter((b) => byte & (1 << b)).map((b) => i * 8 + b),
        );
        const found = runs(bitmap);
        expect(found.flatMap(([start, end]) => Array.from({ length: end - start }, (_, i) => start + i))).toEqual(bits);
        for (let i = 1; i < found.length; i++) expect(found[i]![0]).toBeGreaterThan(found[i - 1]![1]);
      }),
      { seed: 1, numRuns: 200 },
    );
  });
});
