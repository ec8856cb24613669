import type { Gfn, Hva } from '@nvmx/guest-memory';
import { describe, expect, test } from 'vitest';
import { Memslots, USER_MEM_SLOTS } from '../src/memslots.ts';
import { slotAt } from './support/slots.ts';

describe('Memslots', () => {
  test('the first snapshot is empty: generation 0, tag 0', () => {
    const { generation, updateInProgress, tag, count, pageTotal } = Memslots.empty;
    expect({ generation, updateInProgress, tag, count, pageTotal }).toEqual({
      generation: 0,
      updateInProgress: false,
      tag: 0,
      count: 0,
      pageTotal: 0,
    });
    expect([...Memslots.empty]).toEqual([]);
    expect(Memslots.empty.find(0 as Gfn)).toBeUndefined();
    expect(Memslots.empty.get(0)).toBeUndefined();
  });

  test('publishing steps the tag twice, and the generation once: no tag comes again', () => {
    const tags: number[] = [];
    let slots = Memslots.empty;
    for (let i = 0; i < 3; i++) {
      const first = slots.inProgress();
      slots = first.settled();
      tags.push(first.tag, slots.tag);
      expect([first.generation, first.updateInProgress]).toEqual([i, true]);
      expect([slots.generation, slots.updateInProgress]).toEqual([i + 1, false]);
    }
    expect(tags).toEqual([1, 2, 3, 4, 5, 6]);
  });

  test('a slot is found by frame, by host address and by id, at both ends of the ids', () => {
    for (const id of [0, 127, 128, USER_MEM_SLOTS - 1]) {
      const slot = slotAt({ id, gfn: 7, pages: 2, hva: 0x5000 });
      const slots = Memslots.empty.replace({ insert: slot });
      expect(slots.find(8 as Gfn)).toBe(slot);
      expect(slots.get(id)).toBe(slot);
      expect(slots.overlappingHva(0x6000 as Hva, 0x7000 as Hva)).toEqual([slot]);
      expect([...slots]).toEqual([slot]);
      expect(slots.get(id + 1)).toBeUndefined();
    }
  });

  test('counts follow inserts, replacements and removals', () => {
    const slot = slotAt({ id: 1, gfn: 0, pages: 3 });
    const one = Memslots.empty.replace({ insert: slot });
    expect([one.count, one.pageTotal]).toEqual([1, 3]);
    const invalid = slot.invalidated();
    const two = one.replace({ remove: slot, insert: invalid });
    expect([two.count, two.pageTotal, two.find(0 as Gfn)?.invalid]).toEqual([1, 3, true]);
    const none = two.replace({ remove: invalid });
    expect([none.count, none.pageTotal]).toEqual([0, 0]);
    expect(one.find(0 as Gfn)).toBe(slot);
  });

  test('removing a slot that is not in the set is asserted', () => {
    const slot = slotAt({ id: 1, gfn: 0, pages: 3 });
    const slots = Memslots.empty.replace({ insert: slot });
    expect(() => slots.replace({ remove: slot.invalidated() })).toThrow('not in the set');
    expect(() => Memslots.empty.replace({ remove: slot })).toThrow('not in the set');
  });
});

describe('Memslot', () => {
  test('translates its first and last frame, and contains nothing else', () => {
    const slot = slotAt({ id: 1, gfn: 16, pages: 4, hva: 0x8000 });
    expect([slot.hvaOf(16 as Gfn), slot.hvaOf(19 as Gfn)]).toEqual([0x8000, 0xb000]);
    expect([15, 16, 19, 20].map((gfn) => slot.contains(gfn as Gfn))).toEqual([false, true, true, false]);
    expect([slot.endGfn, slot.endHva]).toEqual([20, 0xc000]);
  });

  test('beyond 2^31 frames nothing is lost', () => {
    const slot = slotAt({ id: 1, gfn: 2 ** 40 - 4, pages: 4, hva: 2 ** 46 });
    expect(slot.baseGfn).toBe(2 ** 40 - 4);
    expect(slot.endGfn).toBe(2 ** 40);
    expect(slot.hvaOf((2 ** 40 - 1) as Gfn)).toBe(2 ** 46 + 3 * 4096);
    expect(slotAt({ id: 1, gfn: 0, pages: 2 ** 31 - 1 }).pageCount).toBe(2 ** 31 - 1);
  });

  test('is freed once and for all; its INVALID version is another object', () => {
    const slot = slotAt({ id: 1, gfn: 0, pages: 1 });
    const invalid = slot.invalidated();
    invalid.free();
    expect([slot.freed, invalid.freed]).toEqual([false, true]);
  });
});
