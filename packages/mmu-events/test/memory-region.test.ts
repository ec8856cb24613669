import { describe, expect, test } from 'vitest';
import { checkRegion, type MemoryRegion, planRegion, type SlotSet } from '../src/memory-region.ts';
import { Memslots, SLOT_PAGES_MAX, USER_MEM_SLOTS } from '../src/memslots.ts';
import { USER_ADDRESS_END } from '../src/range.ts';
import { errorCode } from './support/world.ts';

const PAGE = 4096;
const GPA_END = 2 ** 52;
const good: MemoryRegion = { slot: 1, gpa: 16 * PAGE, bytes: 4 * PAGE, hva: 0x1000_0000 };

/** The slots with one slot of the good region in them. */
function slotsWith(...regions: readonly MemoryRegion[]): Memslots {
  return regions.reduce((slots, region) => slots.replace({ insert: planRegion(slots, region)!.next }), Memslots.empty);
}

describe('arguments that no slot can have are EINVAL, and their neighbors are not', () => {
  test.each<[string, Partial<MemoryRegion>, 'EINVAL' | 'none']>([
    ['a size of one byte', { bytes: 1 }, 'EINVAL'],
    ['a size one byte short of a page', { bytes: PAGE - 1 }, 'EINVAL'],
    ['a size of one page', { bytes: PAGE }, 'none'],
    ['a negative size', { bytes: -PAGE }, 'EINVAL'],
    ['a size that is no number', { bytes: Number.NaN }, 'EINVAL'],
    ['a guest address off by one', { gpa: 16 * PAGE + 1 }, 'EINVAL'],
    ['a negative guest address', { gpa: -PAGE }, 'EINVAL'],
    ['guest address 0', { gpa: 0 }, 'none'],
    ['a host address off by one', { hva: 0x1000_0001 }, 'EINVAL'],
    ['host address 0', { hva: 0 }, 'none'],
    ['the last user page', { hva: USER_ADDRESS_END - PAGE, bytes: PAGE }, 'none'],
    ['one page beyond the user half', { hva: USER_ADDRESS_END, bytes: PAGE }, 'EINVAL'],
    ['a range that leaves the user half', { hva: USER_ADDRESS_END - PAGE, bytes: 2 * PAGE }, 'EINVAL'],
    ['a kernel address', { hva: 2 ** 48 - 2 ** 40 }, 'EINVAL'],
    ['the last guest page', { gpa: GPA_END - PAGE, bytes: PAGE }, 'none'],
    ['a range beyond the last guest page', { gpa: GPA_END - PAGE, bytes: 2 * PAGE }, 'EINVAL'],
    ['a guest address at the end', { gpa: GPA_END, bytes: PAGE }, 'EINVAL'],
    ['slot 0', { slot: 0 }, 'none'],
    ['the last slot', { slot: USER_MEM_SLOTS - 1 }, 'none'],
    ['one slot too many', { slot: USER_MEM_SLOTS }, 'EINVAL'],
    ['a negative slot', { slot: -1 }, 'EINVAL'],
    ['half a slot', { slot: 0.5 }, 'EINVAL'],
    ['the largest slot', { bytes: SLOT_PAGES_MAX * PAGE }, 'none'],
    ['one page too many', { bytes: (SLOT_PAGES_MAX + 1) * PAGE }, 'EINVAL'],
    ['size 0', { bytes: 0 }, 'none'],
  ])('%s', (_case, change, code) => {
    expect(errorCode(() => checkRegion({ ...good, ...change }))).toBe(code);
  });
});

describe('what a region changes', () => {
  test.each<[string, Partial<MemoryRegion>, string]>([
    ['nothing', {}, 'nothing'],
    ['nothing, with flags spelled out', { readOnly: false, logDirtyPages: false }, 'nothing'],
    ['another guest address', { gpa: 32 * PAGE }, 'move'],
    ['another guest address that overlaps its own old one', { gpa: 17 * PAGE }, 'move'],
    ['another guest address and logging', { gpa: 32 * PAGE, logDirtyPages: true }, 'move'],
    ['logging', { logDirtyPages: true }, 'flags-only'],
    ['size 0', { bytes: 0 }, 'delete'],
    ['size 0 with other addresses', { bytes: 0, gpa: 0, hva: 0 }, 'delete'],
    ['another id elsewhere', { slot: 2, gpa: 32 * PAGE }, 'create'],
  ])('%s', (_case, change, expected) => {
    expect(planRegion(slotsWith(good), { ...good, ...change })?.change ?? 'nothing').toBe(expected);
  });

  test.each<[string, Partial<MemoryRegion>]>([
    ['more pages', { bytes: 5 * PAGE }],
    ['fewer pages', { bytes: 3 * PAGE }],
    ['another host address', { hva: 0x2000_0000 }],
    ['the read-only flag', { readOnly: true }],
    ['another host address and guest address', { hva: 0x2000_0000, gpa: 32 * PAGE }],
  ])('%s for a slot that exists is EINVAL', (_case, change) => {
    expect(errorCode(() => planRegion(slotsWith(good), { ...good, ...change }))).toBe('EINVAL');
  });

  test('a read-only slot can change its place and its logging, and not become writable', () => {
    const readOnly = { ...good, readOnly: true };
    const slots = slotsWith(readOnly);
    expect(planRegion(slots, { ...readOnly, gpa: 0 })?.change).toBe('move');
    expect(planRegion(slots, { ...readOnly, logDirtyPages: true })?.change).toBe('flags-only');
    expect(errorCode(() => planRegion(slots, good))).toBe('EINVAL');
  });

  test('a delete of nothing is EINVAL', () => {
    expect(errorCode(() => planRegion(slotsWith(good), { ...good, slot: 2, bytes: 0 }))).toBe('EINVAL');
  });

  test('the version that comes has the frames, addresses and flags of the region', () => {
    const next = planRegion(Memslots.empty, { ...good, readOnly: true, logDirtyPages: true })!.next!;
    expect(next).toMatchObject({ id: 1, baseGfn: 16, pageCount: 4, hva: 0x1000_0000, invalid: false });
    expect(next.flags).toEqual({ readOnly: true, logDirtyPages: true });
  });
});

describe('overlap with another slot is EEXIST, in guest frames only', () => {
  const other: MemoryRegion = { slot: 2, gpa: 64 * PAGE, bytes: 4 * PAGE, hva: 0x3000_0000 };
  const slots = slotsWith(good, other);

  test.each([
    [59, 4, 'none'],
    [60, 4, 'none'],
    [61, 4, 'EEXIST'],
    [64, 4, 'EEXIST'],
    [66, 1, 'EEXIST'],
    [67, 4, 'EEXIST'],
    [68, 4, 'none'],
    [60, 12, 'EEXIST'],
  ] as const)('a create at frame %i of %i pages', (gfn, pages, code) => {
    const region = { slot: 3, gpa: gfn * PAGE, bytes: pages * PAGE, hva: 0x4000_0000 };
    expect(errorCode(() => planRegion(slots, region))).toBe(code);
  });

  test.each([
    [60, 'none'],
    [61, 'EEXIST'],
    [67, 'EEXIST'],
    [68, 'none'],
  ] as const)('a move to frame %i', (gfn, code) => {
    expect(errorCode(() => planRegion(slots, { ...good, gpa: gfn * PAGE }))).toBe(code);
  });

  test('host ranges may overlap: one host page behind two guest frames', () => {
    const alias = { slot: 3, gpa: 0, bytes: 4 * PAGE, hva: good.hva };
    expect(planRegion(slots, alias)?.change).toBe('create');
  });
});

describe('the total of pages', () => {
  const planWith = (pageTotal: number, region: MemoryRegion): string => {
    const real = slotsWith(good);
    const slots: SlotSet = { pageTotal, get: (id) => real.get(id), findOverlap: () => undefined };
    return errorCode(() => planRegion(slots, region));
  };

  test('that would go below 0 is EIO', () => {
    expect(planWith(3, { ...good, bytes: 0 })).toBe('EIO');
    expect(planWith(4, { ...good, bytes: 0 })).toBe('none');
  });

  test('that would overflow is EINVAL', () => {
    const create = { ...good, slot: 5 };
    expect(planWith(Number.MAX_SAFE_INTEGER - 3, create)).toBe('EINVAL');
    expect(planWith(Number.MAX_SAFE_INTEGER - 4, create)).toBe('none');
  });
});
