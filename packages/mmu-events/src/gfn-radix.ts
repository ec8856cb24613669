import type { Gfn } from '@nvmx/guest-memory';
import type { Memslot } from './memslot.ts';

const BITS = 7;
const FANOUT = 1 << BITS;
const MASK = FANOUT - 1;
/** One tree spans 2^28 guest frames (1 TiB), so that indices inside it are small integers. */
const TREE_BITS = 28;
const TREE_FRAMES = 2 ** TREE_BITS;
const ROOT_SHIFT = TREE_BITS - BITS;

/** Nothing, the only slot that touches the region, or a node when two or more do. */
type Entry = RadixNode | Memslot | undefined;

class RadixNode {
  /** log2 of the frames that one entry spans. */
  readonly shift: number;
  readonly entries: Entry[];

  constructor(shift: number, entries: Entry[]) {
    this.shift = shift;
    this.entries = entries;
  }
}

/** A change of one tree: the slot's frames [start, last] in it, and what takes the place of what. */
interface Change {
  readonly start: number;
  readonly last: number;
  readonly remove: Memslot | undefined;
  readonly insert: Memslot | undefined;
}

/**
 * Guest frame to memslot: an immutable radix tree. A change copies the nodes on its edges and shares all others.
 *
 * A region that one slot alone touches is a leaf that names the slot, whatever its size, and `find()` compares the frame
 * with the slot at the end. So a lookup goes as deep as slots are dense, and the tree is small when they are few.
 */
export class GfnRadix {
  static readonly empty = new GfnRadix([]);

  /** Index: frame / 2^28. */
  readonly #trees: readonly Entry[];
  /** The tree of the first TiB: nearly every lookup. */
  readonly #first: Entry;

  private constructor(trees: readonly Entry[]) {
    this.#trees = trees;
    this.#first = trees[0];
  }

  find(gfn: Gfn): Memslot | undefined {
    let entry: Entry;
    let frame: number = gfn;
    if (gfn < TREE_FRAMES) {
      entry = this.#first;
    } else {
      const tree = Math.floor(gfn / TREE_FRAMES);
      entry = this.#trees[tree];
      frame = gfn - tree * TREE_FRAMES;
    }
    while (entry instanceof RadixNode) entry = entry.entries[(frame >>> entry.shift) & MASK];
    if (entry === undefined) return undefined;
    return gfn >= entry.baseGfn && gfn - entry.baseGfn < entry.pageCount ? entry : undefined;
  }

  /** A slot that has a frame in [start, end) and that `except` does not name. */
  findOverlap(start: Gfn, end: Gfn, except: { id: number }): Memslot | undefined {
    for (const slot of this.between(start, end)) if (slot.id !== except.id) return slot;
    return undefined;
  }

  /** The slots that have a frame in [start, end), in order of their frames. */
  *between(start: Gfn, end: Gfn): Generator<Memslot, void, void> {
    let previous: Memslot | undefined;
    const trees = Math.min(this.#trees.length, Math.ceil(end / TREE_FRAMES));
    for (let tree = Math.floor(start / TREE_FRAMES); tree < trees; tree++) {
      const base = tree * TREE_FRAMES;
      const from = Math.max(start - base, 0);
      const last = Math.min(end - base, TREE_FRAMES) - 1;
      for (const slot of candidates(this.#trees[tree], { from, last })) {
        if (slot === previous || slot.baseGfn >= end || slot.endGfn <= start) continue;
        previous = slot;
        yield slot;
      }
    }
  }

  /** With `insert` in place of `remove`. The frames of `insert` are free once `remove` is gone: asserted by the caller. */
  replace(o: { remove?: Memslot | undefined; insert?: Memslot | undefined }): GfnRadix {
    const trees = this.#trees.slice();
    if (o.remove !== undefined && o.insert !== undefined && sameFrames(o.remove, o.insert)) {
      changeTrees(trees, o.insert, { remove: o.remove, insert: o.insert });
      return new GfnRadix(trees);
    }
    if (o.remove !== undefined) changeTrees(trees, o.remove, { remove: o.remove, insert: undefined });
    if (o.insert !== undefined) changeTrees(trees, o.insert, { remove: undefined, insert: o.insert });
    return new GfnRadix(trees);
  }
}

function sameFrames(a: Memslot, b: Memslot): boolean {
  return a.baseGfn === b.baseGfn && a.pageCount === b.pageCount;
}

function changeTrees(trees: Entry[], frames: Memslot, o: Pick<Change, 'remove' | 'insert'>): void {
  const end = frames.endGfn;
  for (let tree = Math.floor(frames.baseGfn / TREE_FRAMES); tree * TREE_FRAMES < end; tree++) {
    const base = tree * TREE_FRAMES;
    const start = Math.max(frames.baseGfn - base, 0);
    const last = Math.min(end - base, TREE_FRAMES) - 1;
    while (trees.length <= tree) trees.push(undefined);
    trees[tree] = changed(trees[tree], { base, start: 0, shift: TREE_BITS }, { start, last, ...o });
  }
}

/** Where an entry lies: `start` in its tree, which begins at guest frame `base`. It spans 2^shift frames. */
interface Region {
  readonly base: number;
  readonly start: number;
  readonly shift: number;
}

/** The entry of a region after a change that touches it. */
function changed(entry: Entry, region: Region, change: Change): Entry {
  if (entry instanceof RadixNode) return collapsed(changedNode(entry, region, change));
  if (entry === change.remove) return change.insert;
  if (entry === undefined) return change.insert;
  if (change.insert === undefined) return entry;
  return changedNode(grown(entry, region), region, change);
}

function changedNode(node: RadixNode, region: Region, change: Change): RadixNode {
  const entries = node.entries.slice();
  const { shift } = node;
  const first = Math.max(0, change.start - region.start) >>> shift;
  const last = Math.min(2 ** region.shift - 1, change.last - region.start) >>> shift;
  for (let i = first; i <= last; i++) {
    const inner = { base: region.base, start: region.start + i * 2 ** shift, shift };
    entries[i] = changed(entries[i], inner, change);
  }
  return new RadixNode(shift, entries);
}

/** A node for a region that `slot` alone touched until now. */
function grown(slot: Memslot, region: Region): RadixNode {
  const shift = region.shift === TREE_BITS ? ROOT_SHIFT : region.shift - BITS;
  const start = region.base + region.start;
  const entries: Entry[] = new Array<Entry>(FANOUT).fill(undefined);
  const first = Math.max(0, Math.floor((slot.baseGfn - start) / 2 ** shift));
  const last = Math.min(FANOUT - 1, Math.floor((slot.endGfn - 1 - start) / 2 ** shift));
  for (let i = first; i <= last; i++) entries[i] = slot;
  return new RadixNode(shift, entries);
}

/** A node stands only while two slots or more touch its region. */
function collapsed(node: RadixNode): Entry {
  let only: Entry;
  for (const entry of node.entries) {
    if (entry === undefined || entry === only) continue;
    if (entry instanceof RadixNode || only !== undefined) return node;
    only = entry;
  }
  return only;
}

/** The entries that touch frames [from, last] of a tree, in order, a slot once for each entry. */
function* candidates(entry: Entry, o: { from: number; last: number }): Generator<Memslot, void, void> {
  if (entry === undefined) return;
  if (!(entry instanceof RadixNode)) {
    yield entry;
    return;
  }
  const span = 2 ** entry.shift;
  const first = Math.floor(o.from / span) & MASK;
  const last = Math.floor(o.last / span) & MASK;
  for (let i = first; i <= last; i++) {
    const from = i === first ? o.from % span : 0;
    const to = i === last ? o.last % span : span - 1;
    yield* candidates(entry.entries[i], { from, last: to });
  }
}
