import type { Hva } from '@nvmx/guest-memory';
import { describe, expect, test } from 'vitest';
import { checkRange, hvaToPage, pageRange, USER_ADDRESS_END } from '../src/range.ts';
import { errorCode } from './support/world.ts';

const LAST = USER_ADDRESS_END - 4096;

function range(start: number, end: number): { start: Hva; end: Hva } {
  return { start: start as Hva, end: end as Hva };
}

describe('checkRange()', () => {
  test.each([
    ['the first page', 0, 4096],
    ['the last page', LAST, USER_ADDRESS_END],
    ['the whole user half', 0, USER_ADDRESS_END],
  ])('takes %s', (_case, start, end) => {
    expect(errorCode(() => checkRange('test', range(start, end)))).toBe('none');
  });

  test.each([
    ['an empty range', 4096, 4096],
    ['a reversed range', 8192, 4096],
    ['an unaligned start', 1, 4096],
    ['an unaligned end', 0, 4097],
    ['a negative start', -4096, 4096],
    ['an end beyond the user half', LAST, USER_ADDRESS_END + 4096],
    ['NaN', Number.NaN, 4096],
    ['infinity', 0, Number.POSITIVE_INFINITY],
  ])('refuses %s with EINVAL', (_case, start, end) => {
    expect(errorCode(() => checkRange('test', range(start, end)))).toBe('EINVAL');
  });
});

test('the page of an address, and its range, at the borders of a page', () => {
  for (const [address, page] of [
    [0, 0],
    [4095, 0],
    [4096, 1],
    [2 ** 46 + 4095, 2 ** 34],
  ] as const) {
    expect(hvaToPage(address)).toBe(page);
    expect(pageRange(address)).toEqual({ start: page * 4096, end: (page + 1) * 4096 });
  }
});
