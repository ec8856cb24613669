import { type Gfn, type Hva, PAGE_SIZE } from '@nvmx/guest-memory';
import type { DirtyLog } from './dirty-log.ts';

/** What a memslot allows and records. */
export interface MemslotFlags {
  /** The guest may not write: a write is an MMIO access, and L0's own writes fail. */
  readonly readOnly: boolean;
  /** Writes are recorded in the slot's dirty log. */
  readonly logDirtyPages: boolean;
}

/**
 * A run of guest frames backed by a run of host virtual addresses: `struct kvm_memory_slot`. Never changes, except that
 * it is freed: an update makes a new version.
 */
export class Memslot {
  readonly id: number;
  readonly baseGfn: Gfn;
  readonly pageCount: number;
  /** Where the slot begins in the host. Slots may overlap here, never in guest frames. */
  readonly hva: Hva;
  readonly flags: MemslotFlags;
  /** KVM_MEMSLOT_INVALID: a delete or a move is under way, the slot translates nothing. */
  readonly invalid: boolean;
  readonly dirtyLog: DirtyLog | undefined;
  #freed = false;

  constructor(o: Pick<Memslot, 'id' | 'baseGfn' | 'pageCount' | 'hva' | 'flags' | 'invalid' | 'dirtyLog'>) {
    this.id = o.id;
    this.baseGfn = unboxed(o.baseGfn) as Gfn;
    this.pageCount = unboxed(o.pageCount);
    this.hva = o.hva;
    this.flags = o.flags;
    this.invalid = o.invalid;
    this.dirtyLog = o.dirtyLog;
  }

  /** The first guest frame after the slot. */
  get endGfn(): Gfn {
    return (this.baseGfn + this.pageCount) as Gfn;
  }

  /** The first host address after the slot. */
  get endHva(): Hva {
    return (this.hva + this.pageCount * PAGE_SIZE) as Hva;
  }

  /** True once an update replaced this version and every reader was gone: whoever uses it now holds a dead slot. */
  get freed(): boolean {
    return this.#freed;
  }

  contains(gfn: Gfn): boolean {
    return gfn >= this.baseGfn && gfn - this.baseGfn < this.pageCount;
  }

  /** The host address of a frame of the slot. Says nothing on whether the slot may be used: see `invalid`. */
  hvaOf(gfn: Gfn): Hva {
    return (this.hva + (gfn - this.baseGfn) * PAGE_SIZE) as Hva;
  }

  /** The slot with the INVALID flag: what readers see while it is deleted or moved. */
  invalidated(): Memslot {
    return new Memslot({ ...slotFields(this), invalid: true });
  }

  /** Called by the updater alone, after the last reader. */
  free(): void {
    this.#freed = true;
  }
}

function slotFields(slot: Memslot): ConstructorParameters<typeof Memslot>[0] {
  const { id, baseGfn, pageCount, hva, flags, invalid, dirtyLog } = slot;
  return { id, baseGfn, pageCount, hva, flags, invalid, dirtyLog };
}

/** The same integer as the engine's small integer where it is one: a quotient would sit in a heap object of its own. */
function unboxed(value: number): number {
  return value <= 0x7fff_ffff ? value | 0 : value;
}
