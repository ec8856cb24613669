import type { Gfn } from '@nvmx/guest-memory';
import type { Memslot } from './memslot.ts';

/** Guest frames of one block: 16 MiB of guest memory. */
const BLOCK_BITS = 12;
/** Guest frames of one table of blocks: 16 GiB. */
const TABLE_BITS = 22;
/** Bits of a guest frame that each level resolves down to, from the whole guest to one table of blocks. */
const LEVEL_BITS = [40, 31, TABLE_BITS, BLOCK_BITS];
/** Tables of blocks in one run of the level above. */
const MIDDLE_MASK = 2 ** (31 - TABLE_BITS) - 1;
const FRAMES = 2 ** LEVEL_BITS[0]!;
const BLOCK_MASK = 2 ** BLOCK_BITS - 1;
const TABLE_FRAMES = 2 ** TABLE_BITS;
const TABLE_MASK = TABLE_FRAMES - 1;

/** The slots of one aligned run of frames, one entry for each 2^shift of them: as coarse as the slots' borders allow. */
class Block {
  readonly shift: number;
  readonly slots: readonly (Memslot | undefined)[];

  constructor(shift: number, slots: readonly (Memslot | undefined)[]) {
    this.shift = shift;
    this.slots = slots;
  }
}

/** The inner tables or blocks of a larger run. One entry that stands for all of it while one slot at most touches it. */
class Table {
  readonly shift: number;
  readonly entries: readonly (Table | Block)[];

  constructor(shift: number, entries: readonly (Table | Block)[]) {
    this.shift = shift;
    this.entries = entries;
  }
}

/** A table whose entries are blocks. */
interface BlockTable extends Table {
  readonly entries: readonly Block[];
}

/** An aligned run of frames: 2^LEVEL_BITS[level] of them from `start`. */
interface Region {
  readonly level: number;
  readonly start: number;
}

/** What happens to the frames [start, end): one slot goes, one comes, or one takes the place of the other. */
interface Change {
  readonly start: number;
  readonly end: number;
  readonly remove: Memslot | undefined;
  readonly insert: Memslot | undefined;
}

const TOP: Region = { level: 0, start: 0 };

/**
 * Guest frame to memslot: an immutable radix tree. A change copies the tables on its way and shares all others.
 *
 * A run that one slot alone touches has a single entry that names the slot, whatever its size, and `find()` compares the
 * frame with the slot at the end; a block that several touch is as coarse as the borders in it. So memory goes with the
 * slots, not with the pages, and a lookup below 16 GiB goes through one table and one block.
 */
export class GfnRadix {
  static readonly empty = new GfnRadix(lone(0, undefined) as Table);

  readonly #top: Table;
  /** The blocks of the first 16 GiB. */
  readonly #first: BlockTable;

  private constructor(top: Table) {
    this.#top = top;
    this.#first = blockTable(top, 0);
  }

  /** The slot that holds the frame. */
  find(gfn: Gfn): Memslot | undefined {
    if (gfn >= FRAMES) return undefined;
    const table = gfn < TABLE_FRAMES ? this.#first : blockTable(this.#top, gfn);
    const frame = gfn & TABLE_MASK;
    const block = table.entries[frame >>> table.shift]!;
    // A block that draws borders is exact: the slot itself need not be touched.
    if (block.shift !== BLOCK_BITS) return block.slots[(frame & BLOCK_MASK) >>> block.shift];
    const slot = block.slots[0];
    return slot?.contains(gfn) === true ? slot : undefined;
  }

  /** A slot that has a frame in [start, end) and that `except` does not name. */
  findOverlap(start: Gfn, end: Gfn, except: { id: number }): Memslot | undefined {
    for (const slot of this.between(start, end)) if (slot.id !== except.id) return slot;
    return undefined;
  }

  /** The slots that have a frame in [start, end), in order of their frames. */
  *between(start: Gfn, end: Gfn): Generator<Memslot, void, void> {
    let previous: Memslot | undefined;
    for (const slot of candidates(this.#top, TOP, { start, end })) {
      if (slot === previous || slot.baseGfn >= end || slot.endGfn <= start) continue;
      previous = slot;
      yield slot;
    }
  }

  /** With `insert` in place of `remove`. The frames of `insert` are free, or those of `remove`: the caller sees to it. */
  replace(o: { remove?: Memslot | undefined; insert?: Memslot | undefined }): GfnRadix {
    const { remove, insert } = o;
    if (remove !== undefined && insert !== undefined && !sameFrames(remove, insert)) {
      return this.replace({ remove }).replace({ insert });
    }
    const frames = insert ?? remove;
    if (frames === undefined) return this;
    const change = { start: frames.baseGfn, end: frames.endGfn, remove, insert };
    return new GfnRadix(changed(this.#top, TOP, change) as Table);
  }
}

function sameFrames(a: Memslot, b: Memslot): boolean {
  return a.baseGfn === b.baseGfn && a.pageCount === b.pageCount;
}

function bitsOf(region: Region): number {
  return LEVEL_BITS[region.level]!;
}

/** The table of blocks that covers the frame: two levels above it, in small integers. */
function blockTable(top: Table, gfn: number): BlockTable {
  const run = Math.floor(gfn / TABLE_FRAMES);
  const middle = top.entries[run >>> (top.shift - TABLE_BITS)] as Table;
  return middle.entries[(run & MIDDLE_MASK) >>> (middle.shift - TABLE_BITS)] as BlockTable;
}

/** What covers a region that `slot` alone touches, down to the block. */
function lone(level: number, slot: Memslot | undefined): Table | Block {
  const bits = LEVEL_BITS[level]!;
  return bits === BLOCK_BITS ? new Block(bits, [slot]) : new Table(bits, [lone(level + 1, slot)]);
}

/** Whether a single entry stands for the whole region. */
function isLone(entry: Table | Block, level: number): boolean {
  return entry.shift === LEVEL_BITS[level];
}

/** The slot of a lone table or block. */
function loneSlot(entry: Table | Block): Memslot | undefined {
  let inner = entry;
  while (inner instanceof Table) inner = inner.entries[0]!;
  return inner.slots[0];
}

/** What covers the region after the change, which touches it. */
function changed(entry: Table | Block, region: Region, change: Change): Table | Block {
  if (isLone(entry, region.level)) {
    const slot = loneSlot(entry);
    if (slot === undefined || slot === change.remove) return lone(region.level, change.insert);
    if (change.insert === undefined) return entry;
  }
  return entry instanceof Block ? changedBlock(entry, region, change) : changedTable(entry, region, change);
}

function changedTable(table: Table, region: Region, change: Change): Table | Block {
  const shift = LEVEL_BITS[region.level + 1]!;
  const entries = isLone(table, region.level) ? spread(loneSlot(table)!, region) : table.entries.slice();
  const { first, last } = entriesOf(region, shift, change);
  let whole: Table | Block | undefined;
  for (let i = first; i <= last; i++) {
    const entry = entries[i]!;
    // Regions inside a large slot are all alike, and share what covers them.
    if (isLone(entry, region.level + 1) && loneSlot(entry) === change.remove) {
      whole ??= lone(region.level + 1, change.insert);
      entries[i] = whole;
    } else {
      entries[i] = changed(entry, { level: region.level + 1, start: region.start + i * 2 ** shift }, change);
    }
  }
  return collapsed(new Table(shift, entries), region.level);
}

/** The entries of a region that `slot` alone touched until now. */
function spread(slot: Memslot, region: Region): (Table | Block)[] {
  const shift = LEVEL_BITS[region.level + 1]!;
  const nothing = lone(region.level + 1, undefined);
  const entries = new Array<Table | Block>(2 ** (bitsOf(region) - shift)).fill(nothing);
  const { first, last } = entriesOf(region, shift, { start: slot.baseGfn, end: slot.endGfn });
  return entries.fill(lone(region.level + 1, slot), first, last + 1);
}

/** One slot at most is left: a single entry stands for the region again. */
function collapsed(table: Table, level: number): Table | Block {
  let only: Memslot | undefined;
  for (const entry of table.entries) {
    if (!isLone(entry, level + 1)) return table;
    const slot = loneSlot(entry);
    if (slot === undefined || slot === only) continue;
    if (only !== undefined) return table;
    only = slot;
  }
  return lone(level, only);
}

/** The entries of a region, each for 2^shift frames, that the range touches. */
function entriesOf(region: Region, shift: number, o: { start: number; end: number }): { first: number; last: number } {
  const count = 2 ** (bitsOf(region) - shift);
  return {
    first: Math.max(0, Math.floor((o.start - region.start) / 2 ** shift)),
    last: Math.min(count - 1, Math.floor((o.end - 1 - region.start) / 2 ** shift)),
  };
}

function changedBlock(block: Block, region: Region, change: Change): Block {
  const old = isLone(block, region.level) ? blockOf(block.slots[0]!, region) : block;
  const shift = change.insert === undefined ? old.shift : Math.min(old.shift, grainOf(change.insert, region));
  const slots = refined(old, shift);
  const { first, last } = entriesOf(region, shift, change);
  slots.fill(change.insert, first, last + 1);
  return coarsened(slots, shift);
}

/** log2 of the frames that one entry may span, as far as the borders of this slot are concerned. */
function grainOf(slot: Memslot, region: Region): number {
  let borders = 2 ** BLOCK_BITS;
  if (slot.baseGfn > region.start) borders |= slot.baseGfn & BLOCK_MASK;
  if (slot.endGfn < region.start + 2 ** BLOCK_BITS) borders |= slot.endGfn & BLOCK_MASK;
  return lowestBit(borders);
}

/** The block of a region that `slot` alone touches, with its borders drawn. */
function blockOf(slot: Memslot, region: Region): Block {
  const shift = grainOf(slot, region);
  const { first, last } = entriesOf(region, shift, { start: slot.baseGfn, end: slot.endGfn });
  const slots = new Array<Memslot | undefined>(2 ** (BLOCK_BITS - shift)).fill(undefined);
  return new Block(shift, slots.fill(slot, first, last + 1));
}

/** The entries of the block, each as often as a finer grain needs it. */
function refined(block: Block, shift: number): (Memslot | undefined)[] {
  if (shift === block.shift) return block.slots.slice();
  const finer = block.shift - shift;
  return Array.from({ length: block.slots.length << finer }, (_, i) => block.slots[i >>> finer]);
}

/** The coarsest block that tells the slots apart: the lowest bit of any border between them is its grain. */
function coarsened(slots: readonly (Memslot | undefined)[], shift: number): Block {
  let only: Memslot | undefined;
  let several = false;
  let borders = slots.length;
  for (let i = 0, before: Memslot | undefined = slots[0]; i < slots.length; i++) {
    const slot = slots[i];
    if (slot !== before) borders |= i;
    before = slot;
    if (slot === undefined || slot === only) continue;
    several = only !== undefined;
    only = slot;
  }
  if (!several) return lone(LEVEL_BITS.length - 1, only) as Block;
  const coarser = lowestBit(borders);
  if (coarser === 0) return new Block(shift, slots);
  const length = slots.length >>> coarser;
  return new Block(
    shift + coarser,
    Array.from({ length }, (_, i) => slots[i << coarser]),
  );
}

function lowestBit(bits: number): number {
  return 31 - Math.clz32(bits & -bits);
}

/** The slots named by entries that touch the range, in order; a slot may come several times in a row. */
function* candidates(
  entry: Table | Block,
  region: Region,
  range: { start: number; end: number },
): Generator<Memslot, void, void> {
  if (isLone(entry, region.level)) {
    const slot = loneSlot(entry);
    if (slot !== undefined) yield slot;
    return;
  }
  const { first, last } = entriesOf(region, entry.shift, range);
  for (let i = first; i <= last; i++) {
    if (entry instanceof Block) {
      const slot = entry.slots[i];
      if (slot !== undefined) yield slot;
    } else {
      const start = region.start + i * 2 ** entry.shift;
      yield* candidates(entry.entries[i]!, { level: region.level + 1, start }, range);
    }
  }
}
