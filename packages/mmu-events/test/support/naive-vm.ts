import type { MemoryRegion } from '../../src/index.ts';

const PAGE = 4096;

/** Pages of the host arena and guest frames that the model speaks about. */
export const ARENA_PAGES = 16;
export const GUEST_FRAMES = 40;

export interface NaiveSlot {
  readonly gfn: number;
  readonly pages: number;
  /** First page of the arena. */
  readonly arena: number;
  readonly readOnly: boolean;
  readonly log: boolean;
  /** Dirty pages of the slot; shared by all versions of one log. */
  readonly dirty: Set<number>;
}

/** What a VM is, with no snapshot, no tree, no notifier: maps of small numbers. */
export class NaiveVm {
  readonly slots = new Map<number, NaiveSlot>();
  /** The byte at offset 0 of each arena page. */
  readonly bytes = new Array<number>(ARENA_PAGES).fill(0);
  readonly writable = new Array<boolean>(ARENA_PAGES).fill(true);
  generation = 0;

  /** The arena page behind a guest frame. */
  arenaOf(gfn: number, o: { write: boolean }): number | undefined {
    for (const slot of this.slots.values()) {
      if (gfn < slot.gfn || gfn >= slot.gfn + slot.pages) continue;
      return o.write && slot.readOnly ? undefined : slot.arena + gfn - slot.gfn;
    }
    return undefined;
  }

  /** The errno of the update, or 'none' and its effect. `arena` is the page of `region.hva`. */
  update(region: MemoryRegion, arena: number): string {
    const old = this.slots.get(region.slot);
    const [gfn, pages] = [region.gpa / PAGE, region.bytes / PAGE];
    const [readOnly, log] = [region.readOnly ?? false, region.logDirtyPages ?? false];
    if (pages === 0) {
      if (old === undefined) return 'EINVAL';
      this.slots.delete(region.slot);
      this.generation += 2;
      return 'none';
    }
    if (old !== undefined && (old.pages !== pages || old.arena !== arena || old.readOnly !== readOnly)) return 'EINVAL';
    const moves = old === undefined || old.gfn !== gfn;
    if (moves && this.#overlaps(region.slot, gfn, pages)) return 'EEXIST';
    if (!moves && old.log === log) return 'none';
    const dirty = log && old?.log === true ? old.dirty : new Set<number>();
    this.slots.set(region.slot, { gfn, pages, arena, readOnly, log, dirty });
    this.generation += old !== undefined && moves ? 2 : 1;
    return 'none';
  }

  /** The errno of a one-byte write by L0, or 'none' and its effect. */
  writeGuest(gfn: number, byte: number): string {
    const arena = this.arenaOf(gfn, { write: true });
    if (arena === undefined || !this.writable[arena]) return 'EFAULT';
    this.bytes[arena] = byte;
    this.markDirty(gfn);
    return 'none';
  }

  markDirty(gfn: number): void {
    for (const slot of this.slots.values()) {
      if (slot.log && gfn >= slot.gfn && gfn < slot.gfn + slot.pages) slot.dirty.add(gfn - slot.gfn);
    }
  }

  #overlaps(except: number, gfn: number, pages: number): boolean {
    return [...this.slots].some(([id, slot]) => id !== except && slot.gfn < gfn + pages && slot.gfn + slot.pages > gfn);
  }
}
