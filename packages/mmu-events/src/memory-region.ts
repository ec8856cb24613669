import { type Gfn, type Hva, type OperatingError, PAGE_SIZE } from '@nvmx/guest-memory';
import { operatingError } from './errors.ts';
import { Memslot, type MemslotFlags } from './memslot.ts';
import { GFN_END, type Memslots, SLOT_PAGES_MAX, USER_MEM_SLOTS } from './memslots.ts';
import { USER_ADDRESS_END } from './range.ts';

/** What KVM_SET_USER_MEMORY_REGION takes. Plain numbers, since user space may pass anything. */
export interface MemoryRegion {
  readonly slot: number;
  /** Guest-physical address in bytes. */
  readonly gpa: number;
  /** Size in bytes; 0 deletes the slot. */
  readonly bytes: number;
  /** Host address in bytes, in the user half; nothing need be mapped there. */
  readonly hva: number;
  readonly readOnly?: boolean | undefined;
  readonly logDirtyPages?: boolean | undefined;
}

/** What a plan needs to know of the slots that there are. */
export type SlotSet = Pick<Memslots, 'get' | 'findOverlap' | 'pageTotal'>;

/** What an update does: KVM_MR_CREATE, KVM_MR_DELETE, KVM_MR_MOVE, KVM_MR_FLAGS_ONLY. */
export type RegionChange = 'create' | 'delete' | 'move' | 'flags-only';

/** A checked change: which version of the slot goes and which comes. */
export type RegionPlan =
  | { readonly change: 'create'; readonly old: undefined; readonly next: Memslot }
  | { readonly change: 'delete'; readonly old: Memslot; readonly next: undefined }
  | { readonly change: 'move' | 'flags-only'; readonly old: Memslot; readonly next: Memslot };

/**
 * Checks the arguments alone, in KVM's order.
 *
 * @throws OperatingError EINVAL: unaligned or out-of-range size, guest or host address; wrap-around; slot id; page count.
 */
export function checkRegion(region: MemoryRegion): void {
  const { slot, gpa, bytes, hva } = region;
  if (!isPageMultiple(bytes)) throw invalid(region, 'has a size that is not a multiple of the page size');
  if (!isPageMultiple(gpa)) throw invalid(region, 'has a guest address that is not page-aligned');
  if (!isPageMultiple(hva)) throw invalid(region, 'has a host address that is not page-aligned');
  if (hva + bytes > USER_ADDRESS_END) throw invalid(region, 'has a host range outside the user half');
  if (gpa + bytes > GFN_END * PAGE_SIZE) throw invalid(region, 'ends beyond the last guest address');
  if (!Number.isInteger(slot) || slot < 0 || slot >= USER_MEM_SLOTS) throw invalid(region, 'has no such slot id');
  if (bytes / PAGE_SIZE > SLOT_PAGES_MAX) throw invalid(region, 'has too many pages');
}

/**
 * What a checked region changes, or undefined when it changes nothing.
 *
 * @throws OperatingError EINVAL for a delete of nothing, and for a slot whose size, host address or read-only flag would
 * change; EIO when the page total would go below 0; EEXIST when the frames overlap another slot.
 */
export function planRegion(slots: SlotSet, region: MemoryRegion): RegionPlan | undefined {
  const old = slots.get(region.slot);
  if (region.bytes === 0) return planDelete(slots, region, old);
  const next = newSlot(region, old);
  if (old === undefined) {
    if (!Number.isSafeInteger(slots.pageTotal + next.pageCount)) throw invalid(region, 'overflows the page total');
    checkOverlap(slots, next, region);
    return { change: 'create', old, next };
  }
  if (next.pageCount !== old.pageCount) throw invalid(region, 'would change the size of the slot');
  if (next.hva !== old.hva) throw invalid(region, 'would change the host address of the slot');
  if (next.flags.readOnly !== old.flags.readOnly) throw invalid(region, 'would change the read-only flag of the slot');
  if (next.baseGfn !== old.baseGfn) {
    checkOverlap(slots, next, region);
    return { change: 'move', old, next };
  }
  return next.flags.logDirtyPages === old.flags.logDirtyPages ? undefined : { change: 'flags-only', old, next };
}

/** The slot of the region, with the dirty log that it keeps: none yet when it has to be made. */
function newSlot(region: MemoryRegion, old: Memslot | undefined): Memslot {
  const flags: MemslotFlags = {
    readOnly: region.readOnly ?? false,
    logDirtyPages: region.logDirtyPages ?? false,
  };
  return new Memslot({
    id: region.slot,
    baseGfn: (region.gpa / PAGE_SIZE) as Gfn,
    pageCount: region.bytes / PAGE_SIZE,
    hva: region.hva as Hva,
    flags,
    invalid: false,
    dirtyLog: flags.logDirtyPages ? old?.dirtyLog : undefined,
  });
}

function planDelete(slots: SlotSet, region: MemoryRegion, old: Memslot | undefined): RegionPlan {
  if (old === undefined) throw invalid(region, 'deletes a slot that does not exist');
  if (slots.pageTotal < old.pageCount) throw regionError('EIO', region, 'has more pages than all slots together');
  return { change: 'delete', old, next: undefined };
}

function checkOverlap(slots: SlotSet, next: Memslot, region: MemoryRegion): void {
  const other = slots.findOverlap(next.baseGfn, next.endGfn, next);
  if (other !== undefined) throw regionError('EEXIST', region, `overlaps slot ${other.id}`);
}

function isPageMultiple(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0 && value % PAGE_SIZE === 0;
}

function invalid(region: MemoryRegion, reason: string): OperatingError {
  return regionError('EINVAL', region, reason);
}

function regionError(code: 'EINVAL' | 'EEXIST' | 'EIO', region: MemoryRegion, reason: string): OperatingError {
  const { slot, gpa, bytes, hva } = region;
  return operatingError(code, 'memory region', reason, { slot, gpa, bytes, hva });
}
