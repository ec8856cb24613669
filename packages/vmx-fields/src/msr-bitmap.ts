/** What the guest does to an MSR: RDMSR or WRMSR. */
export type MsrAccess = 'read' | 'write';

/** One part of an MSR bitmap: the bits of consecutive MSRs for one direction. */
export interface MsrBitmapRange {
  readonly access: MsrAccess;
  readonly byteOffset: number;
  readonly bytes: number;
  readonly msrFirst: number;
  readonly msrLast: number;
}

/**
 * The bit of a 4 KiB MSR bitmap that decides about an access, counted from bit 0 of byte 0; -1 when no bit does and the access
 * always exits. A bit of 1 means exit. Intel SDM volume 3, "MSR-Bitmap Address".
 */
export function msrBitmapBit(msr: number, access: MsrAccess): number {
  const direction = access === 'read' ? READ_BIT : WRITE_BIT;
  const unsigned = msr >>> 0;
  if (unsigned <= LOW_MSR_LAST) return direction + unsigned;
  return unsigned >= HIGH_MSR_FIRST && unsigned <= HIGH_MSR_LAST
    ? direction + HIGH_BIT + (unsigned - HIGH_MSR_FIRST)
    : -1;
}

/** One step of the merge of L1's MSR bitmap into that of vmcs02. Rows apply in their order; MSRs that no row names exit. */
export interface MsrBitmapMergeRow {
  readonly order: number;
  readonly msrFirst: number;
  readonly msrLast: number;
  readonly read: boolean;
  readonly write: boolean;
  /**
   * `intercept`: the bit is set. `l1`: it is the bit of L1. `l1-opens`: a 0 of L1 clears it, a 1 leaves it.
   * `vmcs01-or-l1`: it is set when L0 or L1 wants the exit.
   */
  readonly rule: 'intercept' | 'l1' | 'l1-opens' | 'vmcs01-or-l1';
  /** Secondary controls of vmcs12 that must all be set, or 0. */
  readonly requires: number;
  /** `mid-2026`: in the base of the series, not in Linux 6.12. */
  readonly since: 'both' | 'mid-2026';
  /** Only with a mediated PMU, repeated for each of its general or fixed counters. */
  readonly counter?: 'general' | 'fixed' | 'global';
}

/** The bit of the pair of 4 KiB I/O bitmaps, A then B, for a port. Intel SDM volume 3, "I/O-Bitmap Addresses". */
export function ioBitmapBit(port: number): { readonly bitmap: 'a' | 'b'; readonly bit: number } {
  return { bitmap: port < 0x8000 ? 'a' : 'b', bit: port & 0x7fff };
}

/**
 * The bit of the VMREAD or VMWRITE bitmap for a field encoding; -1 when bits above 14 are set and the access always exits.
 * Intel SDM volume 3, "VMREAD-Bitmap and VMWRITE-Bitmap Addresses".
 */
export function vmreadBitmapBit(encoding: number): number {
  return encoding >>> 15 === 0 ? encoding : -1;
}

const READ_BIT = 0;
const WRITE_BIT = 0x800 * 8;
const HIGH_BIT = 0x400 * 8;
const LOW_MSR_LAST = 0x1fff;
const HIGH_MSR_FIRST = 0xc000_0000;
const HIGH_MSR_LAST = 0xc000_1fff;
