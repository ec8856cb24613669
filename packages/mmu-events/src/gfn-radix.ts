import type { Gfn } from '@nvmx/guest-memory';
import type { Memslot } from './memslot.ts';

/** Guest frames of one block: 16 MiB of guest memory. */
const BLOCK_BITS = 12;
/** Guest frames of one table of blocks: 16 GiB. */
const TABLE_BITS = 22;
/** log2 of the guest frames of a region, by level: the guest, a table of tables, a table of blocks, a block. */
const LEVEL_BITS = [40, 31, TABLE_BITS, BLOCK_BITS];
const BLOCK_LEVEL = LEVEL_BITS.length - 1;
const FRAMES = 2 ** LEVEL_BITS[0]!;
const BLOCK_MASK = 2 ** BLOCK_BITS - 1;
const TABLE_FRAMES = 2 ** TABLE_BITS;
const TABLE_MASK = TABLE_FRAMES - 1;
/** log2 of, and mask for, the tables of blocks in one region of the level above. */
const MIDDLE_BITS = 31 - TABLE_BITS;
const MIDDLE_MASK = 2 ** MIDDLE_BITS - 1;
/** The shift of a node that one slot has to itself. */
const LONE = -1;

/**
 * What covers a region. Lone: at most one slot touches it, whatever its size. A table: one node for each 2^shift frames.
 * A block: one slot for each 2^shift frames, as coarse as the borders in it allow.
 */
class Node {
  readonly shift: number;
  /** Of a table. */
  readonly entries: readonly Node[];
  /** Of a block. */
  readonly slots: readonly (Memslot | undefined)[];
  /** Of a lone node. */
  readonly slot: Memslot | undefined;

  constructor(o: { shift: number; entries?: readonly Node[]; slots?: Node['slots']; slot?: Memslot | undefined }) {
    this.shift = o.shift;
    this.entries = o.entries ?? noEntries;
    this.slots = o.slots ?? noSlots;
    this.slot = o.slot;
  }
}

const noEntries: readonly Node[] = [];
const noSlots: Node['slots'] = [];
const nothing = new Node({ shift: LONE });

/** An aligned run of frames: 2^LEVEL_BITS[level] of them from `start`. */
interface Region {
  readonly level: number;
  readonly start: number;
}

/** Guest frames [start, end). */
interface Frames {
  readonly start: number;
  readonly end: number;
}

/** What happens to frames: `remove` leaves them, `insert` takes them. */
interface Change extends Frames {
  readonly remove: Memslot | undefined;
  readonly insert: Memslot | undefined;
  /** What covers a region that `insert` has to itself: one node for all of them. */
  readonly insertNode: Node;
}

const whole: Region = { level: 0, start: 0 };

/**
 * Guest frame to memslot: an immutable radix tree. A change copies the nodes on its way and shares all others.
 *
 * A region that one slot alone touches is a single node that names the slot, and `find()` compares the frame with the
 * slot; a block that draws borders is exact. So memory goes with the slots and not with their pages, and a lookup below
 * 16 GiB goes through one table and one block.
 */
export class GfnRadix {
  static readonly empty = new GfnRadix(nothing);

  readonly #top: Node;
  /** What covers the first 16 GiB: nearly every lookup. */
  readonly #first: Node;

  private constructor(top: Node) {
    this.#top = top;
    this.#first = tableAt(top, 0);
  }

  /** The slot that holds the frame. */
  find(gfn: Gfn): Memslot | undefined {
    let node = gfn < TABLE_FRAMES ? this.#first : tableAt(this.#top, gfn);
    if (node.shift !== LONE) {
      const frame = gfn & TABLE_MASK;
      node = node.entries[frame >>> BLOCK_BITS]!;
      if (node.shift !== LONE) return node.slots[(frame & BLOCK_MASK) >>> node.shift];
    }
    return node.slot?.contains(gfn) === true ? node.slot : undefined;
  }

  /** A slot that has a frame in [start, end) and that `except` does not name. */
  findOverlap(start: Gfn, end: Gfn, except: { id: number }): Memslot | undefined {
    for (const slot of this.between(start, end)) if (slot.id !== except.id) return slot;
    return undefined;
  }

  /** The slots that have a frame in [start, end), in order of their frames. */
  *between(start: Gfn, end: Gfn): Generator<Memslot, void, void> {
    let previous: Memslot | undefined;
    for (const slot of candidates(this.#top, whole, { start, end })) {
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
    const slot = insert ?? remove;
    if (slot === undefined) return this;
    const insertNode = insert === undefined ? nothing : new Node({ shift: LONE, slot: insert });
    return new GfnRadix(changed(this.#top, whole, { ...framesOf(slot), remove, insert, insertNode }));
  }
}

/** The table of blocks that covers the frame, or the lone node of a larger region. In small integers from here on. */
function tableAt(top: Node, gfn: number): Node {
  if (gfn >= FRAMES) return nothing;
  if (top.shift === LONE) return top;
  const table = Math.floor(gfn / TABLE_FRAMES);
  const middle = top.entries[table >>> MIDDLE_BITS]!;
  return middle.shift === LONE ? middle : middle.entries[table & MIDDLE_MASK]!;
}

function framesOf(slot: Memslot): Frames {
  return { start: slot.baseGfn, end: slot.endGfn };
}

function sameFrames(a: Memslot, b: Memslot): boolean {
  return a.baseGfn === b.baseGfn && a.pageCount === b.pageCount;
}

/** What covers the region after the change, which touches it. */
function changed(node: Node, region: Region, change: Change): Node {
  if (node.shift === LONE) {
    if (node.slot === undefined || node.slot === change.remove) return change.insertNode;
    if (change.insert === undefined) return node;
  }
  return region.level === BLOCK_LEVEL ? changedBlock(node, region, change) : changedTable(node, region, change);
}

function changedTable(node: Node, region: Region, change: Change): Node {
  const level = region.level + 1;
  const shift = LEVEL_BITS[level]!;
  const entries = node.shift === LONE ? spread(node, region, shift) : node.entries.slice();
  const { first, last } = entriesOf(region, shift, change);
  for (let i = first; i <= last; i++) {
    entries[i] = changed(entries[i]!, { level, start: region.start + i * 2 ** shift }, change);
  }
  return collapsed(entries) ?? new Node({ shift, entries });
}

/** The entries of a region that one slot had to itself until now. */
function spread(node: Node, region: Region, shift: number): Node[] {
  const entries = new Array<Node>(2 ** (LEVEL_BITS[region.level]! - shift)).fill(nothing);
  const { first, last } = entriesOf(region, shift, framesOf(node.slot!));
  return entries.fill(node, first, last + 1);
}

/** The lone node that can stand for all entries, if one slot at most is left in them. */
function collapsed(entries: readonly Node[]): Node | undefined {
  let only = nothing;
  for (const entry of entries) {
    if (entry.shift !== LONE) return undefined;
    if (entry.slot === undefined || entry.slot === only.slot) continue;
    if (only !== nothing) return undefined;
    only = entry;
  }
  return only;
}

/** The entries of a region, each for 2^shift frames, that the frames touch. */
function entriesOf(region: Region, shift: number, o: Frames): { first: number; last: number } {
  const count = 2 ** (LEVEL_BITS[region.level]! - shift);
  return {
    first: Math.max(0, Math.floor((o.start - region.start) / 2 ** shift)),
    last: Math.min(count - 1, Math.floor((o.end - 1 - region.start) / 2 ** shift)),
  };
}

function changedBlock(node: Node, region: Region, change: Change): Node {
  const old = node.shift === LONE ? blockOf(node.slot!, region) : node;
  const shift = change.insert === undefined ? old.shift : Math.min(old.shift, grainOf(change.insert, region));
  const slots = refined(old, shift);
  const { first, last } = entriesOf(region, shift, change);
  return coarsened(slots.fill(change.insert, first, last + 1), shift);
}

/** The block of a region that `slot` had to itself, with its borders drawn. */
function blockOf(slot: Memslot, region: Region): Node {
  const shift = grainOf(slot, region);
  const { first, last } = entriesOf(region, shift, framesOf(slot));
  const slots = new Array<Memslot | undefined>(2 ** (BLOCK_BITS - shift)).fill(undefined);
  return new Node({ shift, slots: slots.fill(slot, first, last + 1) });
}

/** log2 of the frames that one entry may span, as far as the borders of this slot are concerned. */
function grainOf(slot: Memslot, region: Region): number {
  let borders = 2 ** BLOCK_BITS;
  if (slot.baseGfn > region.start) borders |= slot.baseGfn & BLOCK_MASK;
  if (slot.endGfn < region.start + 2 ** BLOCK_BITS) borders |= slot.endGfn & BLOCK_MASK;
  return lowestBit(borders);
}

/** The entries of the block, each as often as a finer grain needs it. */
function refined(block: Node, shift: number): (Memslot | undefined)[] {
  if (shift === block.shift) return block.slots.slice();
  const finer = block.shift - shift;
  return Array.from({ length: block.slots.length << finer }, (_, i) => block.slots[i >>> finer]);
}

/** The coarsest block that tells the slots apart: the lowest bit of any border between them is its grain. */
function coarsened(slots: readonly (Memslot | undefined)[], shift: number): Node {
  let only: Memslot | undefined;
  let several = false;
  let borders = slots.length;
  for (let i = 0, before = slots[0]; i < slots.length; i++) {
    const slot = slots[i];
    if (slot !== before) borders |= i;
    before = slot;
    if (slot === undefined || slot === only) continue;
    several = only !== undefined;
    only = slot;
  }
  if (!several) return only === undefined ? nothing : new Node({ shift: LONE, slot: only });
  const coarser = lowestBit(borders);
  if (coarser === 0) return new Node({ shift, slots });
  const length = slots.length >>> coarser;
  return new Node({ shift: shift + coarser, slots: Array.from({ length }, (_, i) => slots[i << coarser]) });
}

function lowestBit(bits: number): number {
  return 31 - Math.clz32(bits & -bits);
}

/** The slots named in what touches the frames, in order; a slot may come several times in a row. */
function* candidates(node: Node, region: Region, o: Frames): Generator<Memslot, void, void> {
  if (node.shift === LONE) {
    if (node.slot !== undefined) yield node.slot;
    return;
  }
  const { first, last } = entriesOf(region, node.shift, o);
  for (let i = first; i <= last; i++) {
    if (region.level === BLOCK_LEVEL) {
      const slot = node.slots[i];
      if (slot !== undefined) yield slot;
    } else {
      const start = region.start + i * 2 ** node.shift;
      yield* candidates(node.entries[i]!, { level: region.level + 1, start }, o);
    }
  }
}
