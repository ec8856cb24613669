import type { Gfn, Hva } from '@nvmx/guest-memory';
import fc from 'fast-check';
import { Memslot } from '../../src/memslot.ts';

/** A slot for tests of the indices: only its place matters. */
export function slotAt(o: { id: number; gfn: number; pages: number; hva?: number; invalid?: boolean }): Memslot {
  return new Memslot({
    id: o.id,
    baseGfn: o.gfn as Gfn,
    pageCount: o.pages,
    hva: (o.hva ?? 0x1000_0000 + o.gfn * 4096) as Hva,
    flags: { readOnly: false, logDirtyPages: false },
    invalid: o.invalid ?? false,
    dirtyLog: undefined,
  });
}

/** Guest frames where indices have their borders: blocks of 2^12, tables of 2^22, runs of 2^31, the end at 2^40. */
export const borderGfn: fc.Arbitrary<number> = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: 0, max: 200 }) },
  { weight: 4, arbitrary: fc.integer({ min: 2 ** 12 - 40, max: 2 ** 12 + 40 }) },
  { weight: 2, arbitrary: fc.integer({ min: 2 ** 22 - 40, max: 2 ** 22 + 40 }) },
  { weight: 2, arbitrary: fc.integer({ min: 2 ** 31 - 40, max: 2 ** 31 + 40 }) },
  { weight: 1, arbitrary: fc.integer({ min: 2 ** 40 - 100, max: 2 ** 40 - 1 }) },
  { weight: 1, arbitrary: fc.maxSafeInteger().map((n) => Math.abs(n) % 2 ** 40) },
);

/** From one page to the largest slot there is. */
export const pageCount: fc.Arbitrary<number> = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 1, max: 64 }) },
  { weight: 2, arbitrary: fc.integer({ min: 2 ** 12 - 2, max: 2 ** 13 + 2 }) },
  { weight: 1, arbitrary: fc.integer({ min: 2 ** 22 - 2, max: 2 ** 23 }) },
  { weight: 1, arbitrary: fc.constantFrom(2 ** 31 - 1, 2 ** 30) },
);
