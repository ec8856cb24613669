import { PAGE_SIZE } from '@nvmx/guest-memory';
import type { PageRole } from '@nvmx/mmu-events';

/** What compare.elf and this command have agreed on. The README of the guests is the other half. */
export const marker = { ROUND_TRIPS_BEGIN: 1, ROUND_TRIPS_END: 2, STORM_BEGIN: 3, STORM_END: 4 } as const;

/** The memory that the guest boots in. */
export const GUEST_BYTES = 8 * 2 ** 20;

/** The guest's 16 pages, in a memslot of their own. */
export const PAGES_COUNT = 16;
export const PAGES_BYTES = PAGES_COUNT * PAGE_SIZE;
export const PAGES_GPA = 0x1000_0000;

/** What L1 uses each page for. The window is memory of L2, which no backend holds. */
export const guestPages: readonly { readonly index: number; readonly use: PageRole | 'window' }[] = [
  { index: 0, use: 'msr-bitmap' },
  { index: 1, use: 'apic-access' },
  { index: 2, use: 'virtual-apic' },
  { index: 3, use: 'pi-desc' },
  { index: 4, use: 'evmcs' },
  { index: 8, use: 'window' },
];

/** The vector by which L1 notifies its processor of a posted interrupt. */
export const NOTIFICATION_VECTOR = 0xf2;

export const report = { CHECKS_PASSED: 0x01, CHECKS_FAILED: 0x02, CHECKS_SKIPPED: 0x03, ROUND_TRIPS: 0x04 } as const;

/** What the guest counts in the storm: report index, name, and whether it is a wrong result. */
export const stormFigures = [
  { index: 0x10, name: 'iterations', wrong: false, text: 'iterations of L2' },
  { index: 0x11, name: 'exits', wrong: false, text: 'exits to L1' },
  { index: 0x12, name: 'priorityMismatches', wrong: true, text: 'TPR loads unlike the store before' },
  { index: 0x13, name: 'vtprMismatches', wrong: true, text: 'VTPR in L1 unlike the store of L2' },
  { index: 0x14, name: 'accessesExited', wrong: true, text: 'virtualized APIC accesses exited' },
  { index: 0x15, name: 'accessesNotExited', wrong: true, text: 'APIC accesses did not exit' },
  { index: 0x16, name: 'msrMismatches', wrong: true, text: 'MSR reads unlike the write before' },
  { index: 0x17, name: 'msrsExited', wrong: true, text: 'passed MSR accesses exited' },
  { index: 0x18, name: 'msrsNotExited', wrong: true, text: 'intercepted MSRs did not exit' },
  { index: 0x19, name: 'windowMismatches', wrong: true, text: 'memory loads unlike the store before' },
  { index: 0x1a, name: 'posted', wrong: false, text: 'interrupts posted' },
  { index: 0x1b, name: 'received', wrong: false, text: 'interrupts received' },
  { index: 0x1c, name: 'late', wrong: true, text: 'posted interrupts late' },
  { index: 0x1d, name: 'lost', wrong: true, text: 'posted interrupts lost' },
  { index: 0x1e, name: 'spurious', wrong: true, text: 'interrupts nobody posted' },
  { index: 0x1f, name: 'unexpected', wrong: true, text: 'unexpected exits' },
  { index: 0x20, name: 'violations', wrong: false, text: 'EPT violations that L1 handled' },
  { index: 0x21, name: 'anomalies', wrong: false, text: 'wrong results together' },
  { index: 0x22, name: 'enlightenedEntries', wrong: false, text: 'entries from the enlightened VMCS' },
  { index: 0x23, name: 'enlightenedReasons', wrong: true, text: 'exits missing in the enlightened VMCS' },
  { index: 0x24, name: 'enlightenedAddresses', wrong: true, text: 'RIPs astray, enlightened VMCS' },
  { index: 0x25, name: 'enlightenedPriorities', wrong: true, text: 'TPRs astray, enlightened VMCS' },
] as const;

export type StormFigure = (typeof stormFigures)[number]['name'];

/** The guest's own count of the storm. */
export type GuestFigures = { readonly [name in StormFigure]: number };

/** Puts what came in at the report port under its names; what was never reported is 0. */
export function guestFigures(reported: ReadonlyMap<number, number>): GuestFigures {
  const entries = stormFigures.map(({ index, name }) => [name, reported.get(index) ?? 0]);
  return Object.fromEntries(entries) as GuestFigures;
}
