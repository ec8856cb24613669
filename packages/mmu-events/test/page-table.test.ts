import type { Pfn } from '@nvmx/guest-memory';
import { describe, expect, test } from 'vitest';
import { absentWord, MAPPED, MAPPING_WRITABLE, PageTable, presentWord, wordPfn, wordToPte } from '../src/page-table.ts';

const PAGES = [0, 1, 511, 512, 513, 2 ** 18 - 1, 2 ** 18, 2 ** 18 + 1, 2 ** 35 - 2];

describe('PageTable', () => {
  test('an empty table maps nothing, at every level border', () => {
    const table = new PageTable();
    for (const page of PAGES) expect(table.get(page)).toBe(0);
  });

  test('a word stays on its page, at every level border', () => {
    const table = new PageTable();
    for (const [i, page] of PAGES.entries()) table.set(page, i + 1);
    expect(PAGES.map((page) => table.get(page))).toEqual(PAGES.map((_, i) => i + 1));
    expect(table.get(2)).toBe(0);
    expect(table.get(2 ** 35 - 1)).toBe(0);
  });

  test('forEach() visits the mapped pages of the range in order, first and last included, the end not', () => {
    const table = new PageTable();
    for (const page of PAGES) table.set(page, 1);
    const visited: number[] = [];
    table.forEach(1, 2 ** 18 + 1, (page) => visited.push(page));
    expect(visited).toEqual([1, 511, 512, 513, 2 ** 18 - 1, 2 ** 18]);
  });

  test('a range over everything visits every mapped page once, in order', () => {
    const table = new PageTable();
    for (const page of [...PAGES].reverse()) table.set(page, 1);
    const visited: number[] = [];
    table.forEach(0, 2 ** 35, (page) => visited.push(page));
    expect(visited).toEqual(PAGES);
  });

  test('an empty range, and one in absent regions, visit nothing', () => {
    const table = new PageTable();
    table.set(5, 1);
    for (const [start, end] of [
      [5, 5],
      [6, 2 ** 20],
      [2 ** 30, 2 ** 35],
    ] as const) {
      table.forEach(start, end, () => expect.fail('nothing is mapped there'));
    }
  });
});

describe('a word', () => {
  test.each([
    { pfn: 0, writable: false, cow: false },
    { pfn: 1, writable: true, cow: false },
    { pfn: 2 ** 27 - 1, writable: false, cow: true },
  ])('gives back what went in: $pfn', ({ pfn, writable, cow }) => {
    const word = presentWord(MAPPED | MAPPING_WRITABLE, { pfn: pfn as Pfn, writable, cow });
    expect(wordToPte(word | 0)).toEqual({ pfn, writable, cow });
    expect(wordPfn(word | 0)).toBe(pfn);
  });

  test('a pfn that does not fit is asserted: 2^27', () => {
    expect(() => presentWord(MAPPED, { pfn: (2 ** 27) as Pfn, writable: true, cow: false })).toThrow('does not fit');
  });

  test('without its frame it keeps the permission of the mapping and nothing else', () => {
    const word = presentWord(MAPPED | MAPPING_WRITABLE, { pfn: 9 as Pfn, writable: true, cow: true });
    expect(absentWord(word)).toBe(MAPPED | MAPPING_WRITABLE);
    expect(wordToPte(absentWord(word))).toBeUndefined();
  });
});
