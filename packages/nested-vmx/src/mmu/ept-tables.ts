import { type Gfn, type HostMemory, hpa, hpaToPfn, OperatingError, type Pfn, pfnToHpa } from '@nvmx/guest-memory';
import { addressHigh, addressLow, eptEntry, pairToAddress } from '@nvmx/vmx-fields';

const ALL_ACCESS = eptEntry.READ | eptEntry.WRITE | eptEntry.EXECUTE;
const LEVELS = 4;
const WRITE_BACK = 6;
const LEAF_MEMORY_TYPE = WRITE_BACK << 3;
const WALK_LENGTH = (LEVELS - 1) << 3;
const ENTRIES_PER_TABLE = 512;

/**
 * Four-level EPT paging structures with 4 KiB leaves, in kernel-zone frames: L0 writes them, the processor walks them.
 * Each leaf remembers the L1 frame number that it came from, so that a notifier or a memslot update finds it without a
 * search (KVM: rmap).
 */
export class EptTables {
  readonly #memory: HostMemory;
  readonly #tables: Pfn[] = [];
  /** L1 frame number -> word indices of the leaves that map it. */
  readonly #leavesOf = new Map<number, number[]>();
  readonly #sourceOf = new Map<number, Gfn>();
  /** Value for EPT_POINTER: write-back structures, four levels, no accessed and dirty flags. */
  readonly pointer: number;
  readonly #root: Pfn;

  /** Throws `ENOMEM` when the kernel zone has no frame left for the root. */
  constructor(memory: HostMemory) {
    this.#memory = memory;
    this.#root = this.#allocateTable();
    this.pointer = pfnToHpa(this.#root) + WALK_LENGTH + WRITE_BACK;
  }

  get leafCount(): number {
    let count = 0;
    for (const leaves of this.#leavesOf.values()) count += leaves.length;
    return count;
  }

  /**
   * Maps one 4 KiB page of the space that these tables translate to a frame.
   * A kernel zone without free frames empties the tables and tries once more, as KVM's shrinker would.
   */
  map(page: { readonly at: Gfn; readonly pfn: Pfn; readonly access: number; readonly source: Gfn }): void {
    let word: number;
    try {
      word = this.#leafWord(page.at);
    } catch (error) {
      if (!(error instanceof OperatingError) || error.code !== 'ENOMEM') throw error;
      this.clear();
      word = this.#leafWord(page.at);
    }
    this.#forget(word);
    this.#writeEntry(word, page.pfn, LEAF_MEMORY_TYPE | eptEntry.IGNORE_PAT | page.access);
    this.#remember(page.source, word);
  }

  /** Removes every leaf that came from the L1 frames [start, end). True when one was there. */
  unmapSource(start: Gfn, end: Gfn): boolean {
    let removed = false;
    for (const source of this.#sourcesIn(start, end)) {
      for (const word of this.#leavesOf.get(source) as number[]) {
        this.#clearEntry(word);
        this.#sourceOf.delete(word);
      }
      this.#leavesOf.delete(source);
      removed = true;
    }
    return removed;
  }

  /** Takes the write permission from every leaf that came from the L1 frames [start, end). True when one had it. */
  writeProtectSource(start: Gfn, end: Gfn): boolean {
    let changed = false;
    for (const source of this.#sourcesIn(start, end)) {
      for (const word of this.#leavesOf.get(source) as number[]) {
        changed ||= (this.#memory.u32[word] & eptEntry.WRITE) !== 0;
        this.#memory.u32[word] &= ~eptEntry.WRITE;
      }
    }
    return changed;
  }

  /** Empties the tables and returns all but the root to the kernel zone. */
  clear(): void {
    this.#leavesOf.clear();
    this.#sourceOf.clear();
    while (this.#tables.length > 1) this.#memory.frames.put(this.#tables.pop() as Pfn);
    const first = this.#wordOfTable(this.#root);
    this.#memory.u32.fill(0, first, first + 2 * ENTRIES_PER_TABLE);
  }

  /** Returns every frame, the root included. The tables may not be used afterwards. */
  destroy(): void {
    this.clear();
    this.#memory.frames.put(this.#tables.pop() as Pfn);
  }

  /** Walks the smaller of the two sets: the range, or the L1 frames that are mapped. */
  *#sourcesIn(start: Gfn, end: Gfn): Generator<number> {
    if (end - start <= this.#leavesOf.size) {
      for (let source: number = start; source < end; source++) if (this.#leavesOf.has(source)) yield source;
      return;
    }
    for (const source of [...this.#leavesOf.keys()]) if (source >= start && source < end) yield source;
  }

  #leafWord(at: Gfn): number {
    let table = this.#root;
    for (let level = LEVELS; level > 1; level--) {
      const word = this.#wordOfTable(table) + 2 * indexAt(at, level);
      table = this.#tableAt(word) ?? this.#linkTable(word);
    }
    return this.#wordOfTable(table) + 2 * indexAt(at, 1);
  }

  #tableAt(word: number): Pfn | undefined {
    const { u32 } = this.#memory;
    if ((u32[word] & ALL_ACCESS) === 0) return undefined;
    return hpaToPfn(hpa(pairToAddress(u32[word] & ~0xfff, u32[word + 1])));
  }

  #linkTable(word: number): Pfn {
    const table = this.#allocateTable();
    this.#writeEntry(word, table, ALL_ACCESS);
    return table;
  }

  #allocateTable(): Pfn {
    const table = this.#memory.frames.allocate('kernel');
    this.#tables.push(table);
    return table;
  }

  #wordOfTable(table: Pfn): number {
    return pfnToHpa(table) / 4;
  }

  #writeEntry(word: number, target: Pfn, low: number): void {
    const entry = pfnToHpa(target) + low;
    this.#memory.u32[word] = addressLow(entry);
    this.#memory.u32[word + 1] = addressHigh(entry);
  }

  #clearEntry(word: number): void {
    this.#memory.u32[word] = 0;
    this.#memory.u32[word + 1] = 0;
  }

  #remember(source: Gfn, word: number): void {
    const leaves = this.#leavesOf.get(source);
    if (leaves === undefined) this.#leavesOf.set(source, [word]);
    else leaves.push(word);
    this.#sourceOf.set(word, source);
  }

  /** A leaf that is about to map another page no longer belongs to its former source. */
  #forget(word: number): void {
    const source = this.#sourceOf.get(word);
    if (source === undefined) return;
    this.#sourceOf.delete(word);
    const leaves = this.#leavesOf.get(source);
    const index = leaves?.indexOf(word) ?? -1;
    if (leaves === undefined || index < 0) return;
    leaves.splice(index, 1);
    if (leaves.length === 0) this.#leavesOf.delete(source);
  }
}

function indexAt(at: Gfn, level: number): number {
  return Math.floor(at / ENTRIES_PER_TABLE ** (level - 1)) % ENTRIES_PER_TABLE;
}
