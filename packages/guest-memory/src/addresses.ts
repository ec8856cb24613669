import { fail } from './errors.ts';

declare const brand: unique symbol;
type Branded<Name extends string> = number & { readonly [brand]: Name };

/** Guest-physical address, in bytes. */
export type Gpa = Branded<'Gpa'>;
/** Guest frame number: a guest-physical address in pages. */
export type Gfn = Branded<'Gfn'>;
/** Host-virtual address in the VMM process, in bytes. */
export type Hva = Branded<'Hva'>;
/** Host-physical address, in bytes. */
export type Hpa = Branded<'Hpa'>;
/** Page frame number: a host-physical address in pages. */
export type Pfn = Branded<'Pfn'>;

/** log2 of the page size. */
export const PAGE_SHIFT = 12;
/** Bytes in a page: 4 KiB, of guest and host alike. */
export const PAGE_SIZE = 4096;

/** Addresses reach 2^52, inclusive so that a half-open range can end there; frame numbers reach 2^40. */
const ADDRESS_LAST = 2 ** 52;
const FRAME_LAST = ADDRESS_LAST / PAGE_SIZE;

/** Each constructor throws AssertionError on a fraction, a negative number, NaN, or one past its range. */
export function gpa(value: number): Gpa {
  return check(value, ADDRESS_LAST, 'gpa') as Gpa;
}

/** See {@link gpa}. */
export function gfn(value: number): Gfn {
  return check(value, FRAME_LAST, 'gfn') as Gfn;
}

/** See {@link gpa}. */
export function hva(value: number): Hva {
  return check(value, ADDRESS_LAST, 'hva') as Hva;
}

/** See {@link gpa}. */
export function hpa(value: number): Hpa {
  return check(value, ADDRESS_LAST, 'hpa') as Hpa;
}

/** See {@link gpa}. */
export function pfn(value: number): Pfn {
  return check(value, FRAME_LAST, 'pfn') as Pfn;
}

/** The frame that holds the address. */
export function gpaToGfn(address: Gpa): Gfn {
  return Math.floor(address / PAGE_SIZE) as Gfn;
}

/** The first address of the frame. */
export function gfnToGpa(frame: Gfn): Gpa {
  return (frame * PAGE_SIZE) as Gpa;
}

/** The frame that holds the address. */
export function hpaToPfn(address: Hpa): Pfn {
  return Math.floor(address / PAGE_SIZE) as Pfn;
}

/** The first address of the frame. */
export function pfnToHpa(frame: Pfn): Hpa {
  return (frame * PAGE_SIZE) as Hpa;
}

/** The offset of an address in its page, 0..4095. */
export function pageOffset(address: number): number {
  return address % PAGE_SIZE;
}

/** The first address of the page that holds the address. */
export function pageStart<Address extends Gpa | Hva | Hpa>(address: Address): Address {
  return (address - (address % PAGE_SIZE)) as Address;
}

/** From a 64-bit value. Throws AssertionError beyond 2^52: a value that a guest chose needs {@link isAddress} first. */
export function gpaFromBigint(value: bigint): Gpa {
  return gpa(Number(value));
}

/** See {@link gpaFromBigint}. */
export function hvaFromBigint(value: bigint): Hva {
  return hva(Number(value));
}

/** See {@link gpaFromBigint}. */
export function hpaFromBigint(value: bigint): Hpa {
  return hpa(Number(value));
}

/** From the two halves of a 64-bit value, signed or unsigned. Throws AssertionError beyond 2^52. */
export function gpaFromPair(o: { low: number; high: number }): Gpa {
  return gpa((o.high >>> 0) * 2 ** 32 + (o.low >>> 0));
}

/** See {@link gpaFromPair}. */
export function hpaFromPair(o: { low: number; high: number }): Hpa {
  return hpa((o.high >>> 0) * 2 ** 32 + (o.low >>> 0));
}

/** Whether a value, often a guest's choice, fits an address type. */
export function isAddress(value: number | bigint): boolean {
  if (typeof value === 'bigint') return value >= 0n && value <= BigInt(ADDRESS_LAST);
  return Number.isInteger(value) && value >= 0 && value <= ADDRESS_LAST;
}

function check(value: number, last: number, type: string): number {
  if (value >>> 0 === value && value <= last) return value;
  if (Number.isInteger(value) && value >= 0 && value <= last) return value;
  return fail(`${type}: ${value} is not an integer in 0..0x${last.toString(16)}`);
}
