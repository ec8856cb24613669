import type { Gfn } from '@nvmx/guest-memory';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { GfnRadix } from '../src/gfn-radix.ts';
import type { Memslot } from '../src/memslot.ts';
import { borderGfn, pageCount, slotAt } from './support/slots.ts';

const END = 2 ** 40;
const options = { seed: 20_260_102, numRuns: 300 };

/** What the radix stands for: a list, searched from one end to the other. */
class Naive {
  slots: readonly Memslot[] = [];

  find(gfn: number): Memslot | undefined {
    return this.slots.find((slot) => slot.contains(gfn as Gfn));
  }

  overlaps(start: number, end: number): boolean {
    return this.slots.some((slot) => slot.baseGfn < end && slot.endGfn > start);
  }
}

type Step =
  | { kind: 'insert'; gfn: number; pages: number }
  | { kind: 'remove'; pick: number }
  | { kind: 'invalidate'; pick: number }
  | { kind: 'move'; pick: number; gfn: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('insert' as const), gfn: borderGfn, pages: pageCount }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('remove' as const), pick: fc.nat(1000) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('invalidate' as const), pick: fc.nat(1000) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('move' as const), pick: fc.nat(1000), gfn: borderGfn }) },
);

/** Applies a step to both where it is possible; the radix before it is left as it was. */
function apply(radix: GfnRadix, naive: Naive, one: Step, id: number): GfnRadix {
  if (one.kind === 'insert') {
    const pages = Math.min(one.pages, END - one.gfn);
    if (naive.overlaps(one.gfn, one.gfn + pages)) return radix;
    const insert = slotAt({ id, gfn: one.gfn, pages });
    naive.slots = [...naive.slots, insert];
    return radix.replace({ insert });
  }
  const remove = naive.slots[one.pick % Math.max(1, naive.slots.length)];
  if (remove === undefined) return radix;
  const others = naive.slots.filter((slot) => slot !== remove);
  if (one.kind === 'remove') {
    naive.slots = others;
    return radix.replace({ remove });
  }
  const insert =
    one.kind === 'invalidate'
      ? remove.invalidated()
      : slotAt({ id: remove.id, gfn: Math.min(one.gfn, END - remove.pageCount), pages: remove.pageCount });
  naive.slots = others;
  if (naive.overlaps(insert.baseGfn, insert.endGfn)) {
    naive.slots = [...others, remove];
    return radix;
  }
  naive.slots = [...others, insert];
  return radix.replace({ remove, insert });
}

/** The frames where an answer can be wrong: each border of each slot, and its neighbors. */
function interestingFrames(naive: Naive): number[] {
  const borders = naive.slots.flatMap((slot) => [slot.baseGfn, slot.endGfn]);
  const near = borders.flatMap((gfn) => [gfn - 1, gfn, gfn + 1, gfn - (gfn % 2 ** 12), gfn + 2 ** 12]);
  return [0, END - 1, ...near].filter((gfn) => gfn >= 0 && gfn < END);
}

describe('GfnRadix is a list of slots', () => {
  test('find() at every border, after every sequence of changes', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const naive = new Naive();
        let radix = GfnRadix.empty;
        for (const [id, one] of steps.entries()) radix = apply(radix, naive, one, id);
        for (const gfn of interestingFrames(naive)) expect(radix.find(gfn as Gfn)).toBe(naive.find(gfn));
      }),
      options,
    );
  });

  test('a change leaves the radix before it as it was', () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 2, maxLength: 20 }), (steps) => {
        const naive = new Naive();
        let radix = GfnRadix.empty;
        for (const [id, one] of steps.slice(0, -1).entries()) radix = apply(radix, naive, one, id);
        const frames = interestingFrames(naive);
        const before = frames.map((gfn) => radix.find(gfn as Gfn));
        apply(radix, naive, steps.at(-1)!, steps.length);
        expect(frames.map((gfn) => radix.find(gfn as Gfn))).toEqual(before);
      }),
      options,
    );
  });

  test('between() and findOverlap() give what overlaps the range, in order and once', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), borderGfn, pageCount, (steps, start, pages) => {
        const naive = new Naive();
        let radix = GfnRadix.empty;
        for (const [id, one] of steps.entries()) radix = apply(radix, naive, one, id);
        const end = Math.min(END, start + pages);
        const expected = naive.slots
          .filter((slot) => slot.baseGfn < end && slot.endGfn > start)
          .sort((a, b) => a.baseGfn - b.baseGfn);
        expect([...radix.between(start as Gfn, end as Gfn)]).toEqual(expected);
        const except = expected[0] ?? { id: -1 };
        const overlap = radix.findOverlap(start as Gfn, end as Gfn, except);
        expect(overlap === undefined).toBe(expected.filter((slot) => slot.id !== except.id).length === 0);
      }),
      options,
    );
  });

  test('removing every slot leaves nothing behind', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const naive = new Naive();
        let radix = GfnRadix.empty;
        for (const [id, one] of steps.entries()) radix = apply(radix, naive, one, id);
        const frames = interestingFrames(naive);
        for (const remove of naive.slots) radix = radix.replace({ remove });
        for (const gfn of frames) expect(radix.find(gfn as Gfn)).toBeUndefined();
        expect([...radix.between(0 as Gfn, END as Gfn)]).toEqual([]);
      }),
      options,
    );
  });
});

describe('the ends of the guest', () => {
  test.each([0, 2 ** 12, 2 ** 22, 2 ** 31, END - 1])('one page at frame %i is found there and nowhere else', (gfn) => {
    const slot = slotAt({ id: 1, gfn, pages: 1 });
    const radix = GfnRadix.empty.replace({ insert: slot });
    expect(radix.find(gfn as Gfn)).toBe(slot);
    expect(radix.find((gfn + 1) as Gfn)).toBeUndefined();
    if (gfn > 0) expect(radix.find((gfn - 1) as Gfn)).toBeUndefined();
  });

  test('frame 2^40, the end of the last page, is no frame', () => {
    const slot = slotAt({ id: 1, gfn: END - 8, pages: 8 });
    expect(GfnRadix.empty.find(END as Gfn)).toBeUndefined();
    const one = GfnRadix.empty.replace({ insert: slot });
    expect(one.find(END as Gfn)).toBeUndefined();
    expect(one.replace({ insert: slotAt({ id: 2, gfn: 0, pages: 8 }) }).find(END as Gfn)).toBeUndefined();
  });

  test('the largest slot, 2^31 - 1 pages, beside a slot of one page', () => {
    const large = slotAt({ id: 1, gfn: 1, pages: 2 ** 31 - 1 });
    const small = slotAt({ id: 2, gfn: 0, pages: 1 });
    const radix = GfnRadix.empty.replace({ insert: large }).replace({ insert: small });
    expect(radix.find(0 as Gfn)).toBe(small);
    for (const gfn of [1, 4095, 4096, 2 ** 22, 2 ** 31 - 1]) expect(radix.find(gfn as Gfn)).toBe(large);
    expect(radix.find((2 ** 31) as Gfn)).toBeUndefined();
    expect(radix.replace({ remove: large }).find(5 as Gfn)).toBeUndefined();
  });
});
