import type { Hva } from '@nvmx/guest-memory';
import type { Op } from '@nvmx/sync';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { HvaRange, RangeCache } from '../src/index.ts';
import { RangeCaches, standsIn } from '../src/range-caches.ts';

class FakeCache implements RangeCache {
  page: number;

  constructor(page: number) {
    this.page = page;
  }

  hvaPage(): number {
    return this.page;
  }

  *invalidateRange(): Op<void> {}
}

function pageRange(start: number, end: number): HvaRange {
  return { start: (start * 4096) as Hva, end: (end * 4096) as Hva };
}

describe('RangeCaches', () => {
  test('hits are the caches of the range, first page included, end not, several to a page', () => {
    const caches = new RangeCaches();
    const list = [4, 5, 5, 6, 7, 2 ** 34].map((page) => new FakeCache(page));
    for (const cache of list) caches.add(cache);
    expect(new Set(caches.hits(pageRange(5, 7)))).toEqual(new Set(list.slice(1, 4)));
    expect(caches.hits(pageRange(8, 100))).toEqual([]);
    expect(caches.hits(pageRange(2 ** 34, 2 ** 34 + 1))).toEqual([list[5]]);
    expect(caches.count).toBe(6);
  });

  test('a cache without a page is registered and never hit, until it moves to one', () => {
    const caches = new RangeCaches();
    const cache = new FakeCache(-1);
    caches.add(cache);
    expect(caches.has(cache)).toBe(true);
    expect(caches.hits(pageRange(0, 100))).toEqual([]);
    cache.page = 3;
    expect(caches.hits(pageRange(0, 100))).toEqual([]);
    caches.move(cache);
    expect(caches.hits(pageRange(3, 4))).toEqual([cache]);
    cache.page = -1;
    caches.move(cache);
    expect(caches.hits(pageRange(0, 100))).toEqual([]);
    caches.remove(cache);
    expect(caches.count).toBe(0);
  });

  test('registering twice, and removing or moving what is not registered, is asserted', () => {
    const caches = new RangeCaches();
    const cache = new FakeCache(1);
    expect(() => caches.remove(cache)).toThrow('not registered');
    expect(() => caches.move(cache)).toThrow('not registered');
    caches.add(cache);
    expect(() => caches.add(cache)).toThrow('registered already');
  });

  test('the hits that were handed out do not change with the list', () => {
    const caches = new RangeCaches();
    const cache = new FakeCache(1);
    caches.add(cache);
    const hits = caches.hits(pageRange(0, 9));
    caches.remove(cache);
    expect(hits).toEqual([cache]);
  });

  test('after any sequence of adds, moves and removals, hits are what stands in the range', () => {
    const step = fc.record({
      what: fc.constantFrom('add', 'move', 'remove'),
      pick: fc.nat(20),
      page: fc.integer({ min: -1, max: 8 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.nat(8), fc.nat(8), (steps, start, length) => {
        const caches = new RangeCaches();
        const all = Array.from({ length: 21 }, () => new FakeCache(-1));
        for (const { what, pick, page } of steps) {
          const cache = all[pick]!;
          if (what === 'add' && !caches.has(cache)) {
            cache.page = page;
            caches.add(cache);
          } else if (what === 'move' && caches.has(cache)) {
            cache.page = page;
            caches.move(cache);
          } else if (what === 'remove' && caches.has(cache)) caches.remove(cache);
        }
        const range = pageRange(start, start + length + 1);
        const expected = all.filter((cache) => caches.has(cache) && standsIn(cache, range));
        expect(new Set(caches.hits(range))).toEqual(new Set(expected));
        expect(caches.hits(range)).toHaveLength(expected.length);
      }),
      { seed: 7, numRuns: 300 },
    );
  });
});
