import type { Hva } from '@nvmx/guest-memory';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { HvaTree } from '../src/hva-tree.ts';
import type { Memslot } from '../src/memslot.ts';
import { slotAt } from './support/slots.ts';

const options = { seed: 20_260_102, numRuns: 300 };
const place = fc.record({ page: fc.integer({ min: 0, max: 60 }), pages: fc.integer({ min: 1, max: 20 }) });

function slotsOf(places: readonly { page: number; pages: number }[]): Memslot[] {
  return places.map(({ page, pages }, id) => slotAt({ id, gfn: id * 100, pages, hva: page * 4096 }));
}

function naive(slots: readonly Memslot[], start: number, end: number): Memslot[] {
  return slots.filter((slot) => slot.hva < end && slot.endHva > start).sort((a, b) => a.hva - b.hva || a.id - b.id);
}

function treeOf(slots: readonly Memslot[]): HvaTree {
  return slots.reduce((tree, insert) => tree.replace({ insert }), HvaTree.empty);
}

test('overlapping() gives every slot that overlaps the range, in order, though slots overlap each other', () => {
  fc.assert(
    fc.property(fc.array(place, { maxLength: 30 }), place, (places, query) => {
      const slots = slotsOf(places);
      const [start, end] = [query.page * 4096, (query.page + query.pages) * 4096];
      expect(treeOf(slots).overlapping(start as Hva, end as Hva)).toEqual(naive(slots, start, end));
    }),
    options,
  );
});

test('removed slots are gone, replaced ones are the new ones, and the tree before a change is as it was', () => {
  fc.assert(
    fc.property(
      fc.array(place, { minLength: 1, maxLength: 30 }),
      fc.nat(1000),
      fc.boolean(),
      (places, pick, replace) => {
        const slots = slotsOf(places);
        const tree = treeOf(slots);
        const remove = slots[pick % slots.length]!;
        const insert = replace ? remove.invalidated() : undefined;
        const after = slots.flatMap((slot) => (slot !== remove ? [slot] : insert === undefined ? [] : [insert]));
        const all = [0 as Hva, (100 * 4096) as Hva] as const;
        expect(tree.replace({ remove, insert }).overlapping(...all)).toEqual(naive(after, ...all));
        expect(tree.overlapping(...all)).toEqual(naive(slots, ...all));
      },
    ),
    options,
  );
});

test('many slots of one host page are all found: 1000 of them', () => {
  const slots = slotsOf(Array.from({ length: 1000 }, () => ({ page: 5, pages: 1 })));
  expect(treeOf(slots).overlapping((5 * 4096) as Hva, (6 * 4096) as Hva)).toHaveLength(1000);
});

test('ranges that only touch a slot do not overlap it', () => {
  const tree = treeOf(slotsOf([{ page: 5, pages: 2 }]));
  expect(tree.overlapping((4 * 4096) as Hva, (5 * 4096) as Hva)).toEqual([]);
  expect(tree.overlapping((7 * 4096) as Hva, (8 * 4096) as Hva)).toEqual([]);
  expect(tree.overlapping((6 * 4096) as Hva, (7 * 4096) as Hva)).toHaveLength(1);
});
