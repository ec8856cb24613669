import { assert, type Gfn, type Hva } from '@nvmx/guest-memory';
import { GfnRadix } from './gfn-radix.ts';
import { HvaTree } from './hva-tree.ts';
import type { Memslot } from './memslot.ts';

/** KVM_MEM_SLOTS_NUM less the three that KVM keeps for itself: ids 0 .. 32763. */
export const USER_MEM_SLOTS = 32_764;
/** KVM_MEM_MAX_NR_PAGES. */
export const SLOT_PAGES_MAX = 2 ** 31 - 1;
/** Guest-physical addresses have 52 bits, so guest frames 40. */
export const GFN_END = 2 ** 40;

const CHUNK_SHIFT = 7;
const CHUNK_MASK = (1 << CHUNK_SHIFT) - 1;

interface Fields {
  readonly generation: number;
  readonly updateInProgress: boolean;
  readonly count: number;
  readonly pageTotal: number;
  readonly byGfn: GfnRadix;
  readonly byHva: HvaTree;
  /** By id, in chunks of 128, so that a change copies two small arrays. */
  readonly byId: readonly (readonly (Memslot | undefined)[])[];
}

/**
 * The memslots of a VM at one moment: `struct kvm_memslots`, immutable. An update publishes a new one, twice: first with
 * `updateInProgress`, then, when no reader of the old one is left, with the next generation.
 */
export class Memslots {
  static readonly empty = new Memslots({
    generation: 0,
    updateInProgress: false,
    count: 0,
    pageTotal: 0,
    byGfn: GfnRadix.empty,
    byHva: HvaTree.empty,
    byId: [],
  });

  readonly generation: number;
  /** KVM_MEMSLOT_GEN_UPDATE_IN_PROGRESS: what is derived from this snapshot goes stale by design. */
  readonly updateInProgress: boolean;
  /**
   * Names this snapshot: generation * 2, plus 1 while an update is in progress. Tags only ever grow. Compare tags, never
   * generations alone: what was cached in the window of an update must not outlive it.
   */
  readonly tag: number;
  /** Slots, those that are being deleted or moved included. */
  readonly count: number;
  /** Guest pages of all slots: `nr_memslot_pages`. */
  readonly pageTotal: number;
  readonly #fields: Fields;
  readonly #byGfn: GfnRadix;

  private constructor(fields: Fields) {
    this.generation = fields.generation;
    this.updateInProgress = fields.updateInProgress;
    this.tag = fields.generation * 2 + (fields.updateInProgress ? 1 : 0);
    this.count = fields.count;
    this.pageTotal = fields.pageTotal;
    this.#fields = fields;
    this.#byGfn = fields.byGfn;
  }

  /** The slot that holds the frame, INVALID ones included: `gfn_to_memslot()`. */
  find(gfn: Gfn): Memslot | undefined {
    return this.#byGfn.find(gfn);
  }

  /** The slot with the id. */
  get(id: number): Memslot | undefined {
    return this.#fields.byId[id >>> CHUNK_SHIFT]?.[id & CHUNK_MASK];
  }

  /** The slots with a host address in [start, end), in order of their addresses. */
  overlappingHva(start: Hva, end: Hva): readonly Memslot[] {
    return this.#fields.byHva.overlapping(start, end);
  }

  /** A slot with a frame in [start, end), other than `except`. */
  findOverlap(start: Gfn, end: Gfn, except: { id: number }): Memslot | undefined {
    return this.#byGfn.findOverlap(start, end, except);
  }

  /** All slots, in order of their frames. */
  [Symbol.iterator](): Iterator<Memslot, void, void> {
    return this.#byGfn.between(0 as Gfn, GFN_END as Gfn);
  }

  /** The same slots with `insert` in place of `remove`, under the same generation. */
  replace(o: { remove?: Memslot | undefined; insert?: Memslot | undefined }): Memslots {
    const { remove, insert } = o;
    assert(remove === undefined || this.get(remove.id) === remove, 'memslots: the slot to replace is not in the set');
    return new Memslots({
      ...this.#fields,
      count: this.count - (remove === undefined ? 0 : 1) + (insert === undefined ? 0 : 1),
      pageTotal: this.pageTotal - (remove?.pageCount ?? 0) + (insert?.pageCount ?? 0),
      byGfn: this.#byGfn.replace(o),
      byHva: this.#fields.byHva.replace(o),
      byId: replaceById(this.#fields.byId, o),
    });
  }

  /** The same slots as they are first published. */
  inProgress(): Memslots {
    return new Memslots({ ...this.#fields, updateInProgress: true });
  }

  /** The same slots under the next generation, as they are published for good. */
  settled(): Memslots {
    const generation = this.generation + 1;
    assert(generation < 2 ** 51, 'memslots: the generation must never wrap');
    return new Memslots({ ...this.#fields, generation, updateInProgress: false });
  }
}

function replaceById(
  chunks: Fields['byId'],
  o: { remove?: Memslot | undefined; insert?: Memslot | undefined },
): Fields['byId'] {
  const next = chunks.slice();
  if (o.remove !== undefined) next[o.remove.id >>> CHUNK_SHIFT] = withSlot(next, o.remove.id, undefined);
  if (o.insert !== undefined) {
    while (next.length <= o.insert.id >>> CHUNK_SHIFT) next.push([]);
    next[o.insert.id >>> CHUNK_SHIFT] = withSlot(next, o.insert.id, o.insert);
  }
  return next;
}

function withSlot(chunks: Fields['byId'], id: number, slot: Memslot | undefined): readonly (Memslot | undefined)[] {
  const chunk = chunks[id >>> CHUNK_SHIFT]!.slice();
  while (chunk.length <= (id & CHUNK_MASK)) chunk.push(undefined);
  chunk[id & CHUNK_MASK] = slot;
  return chunk;
}
