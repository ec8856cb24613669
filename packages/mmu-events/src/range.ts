import { type Hva, PAGE_SIZE } from '@nvmx/guest-memory';
import { operatingError } from './errors.ts';

/** Host virtual addresses [start, end), both page-aligned. */
export interface HvaRange {
  readonly start: Hva;
  readonly end: Hva;
}

/** The host operation behind an event, named after what the kernel calls it. For traces; nothing decides by it. */
export type RangeReason = 'munmap' | 'discard' | 'migrate' | 'protect' | 'merge' | 'copy-on-write' | 'reap';

/** One host event as its listeners see it: `struct mmu_notifier_range`. */
export interface RangeEvent extends HvaRange {
  /** False for the OOM reaper: the listener may take spin and rw locks, and may not sleep. */
  readonly mayBlock: boolean;
  readonly reason: string;
}

/** End of the user half of a 47-bit address space, less its guard page: what `access_ok()` compares with. */
export const USER_ADDRESS_END = 2 ** 47 - PAGE_SIZE;

/** The page that holds `hva`, as a page number. */
export function hvaToPage(hva: number): number {
  return Math.floor(hva / PAGE_SIZE);
}

/** The one-page range that holds `hva`. */
export function pageRange(hva: number): HvaRange {
  const start = hva - (hva % PAGE_SIZE);
  return { start: start as Hva, end: (start + PAGE_SIZE) as Hva };
}

/**
 * Checks a range that a caller gave.
 *
 * @throws OperatingError EINVAL when it is unaligned, empty, reversed, or not in the user half.
 */
export function checkRange(operation: string, range: HvaRange): void {
  const { start, end } = range;
  const aligned = start % PAGE_SIZE === 0 && end % PAGE_SIZE === 0;
  if (aligned && start >= 0 && start < end && end <= USER_ADDRESS_END) return;
  throw operatingError('EINVAL', operation, 'is not a page-aligned user range', { start, end });
}
