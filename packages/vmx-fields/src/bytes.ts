import { fieldBits, fieldRows } from './fields.ts';
import type { Vmcs } from './vmcs.ts';

/** Little-endian accesses to plain bytes: a structure of L1 may lie in shared memory and need not be aligned. */

/** Where one field lies in a structure, and where in {@link Vmcs.words}. */
export interface FieldPlace {
  readonly offset: number;
  readonly word: number;
  readonly bytes: 2 | 4 | 8;
}

export function fieldPlaces(offsetKey: 'vmcs12Offset' | 'evmcsOffset'): FieldPlace[] {
  return fieldRows.flatMap((row) => {
    const offset = row[offsetKey];
    return offset === undefined ? [] : [{ offset, word: row.word, bytes: (fieldBits(row.width) / 8) as 2 | 4 | 8 }];
  });
}

export function readU32(bytes: Uint8Array, offset: number): number {
  return (bytes[offset]! | (bytes[offset + 1]! << 8) | (bytes[offset + 2]! << 16) | (bytes[offset + 3]! << 24)) >>> 0;
}

export function writeU32(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value;
  bytes[offset + 1] = value >>> 8;
  bytes[offset + 2] = value >>> 16;
  bytes[offset + 3] = value >>> 24;
}

/** Reads one field, zero-extended to its two words. */
export function readPlace(bytes: Uint8Array, place: FieldPlace, into: Vmcs): void {
  const { offset, word } = place;
  const low = place.bytes === 2 ? bytes[offset]! | (bytes[offset + 1]! << 8) : readU32(bytes, offset);
  into.write64(word, low, place.bytes === 8 ? readU32(bytes, offset + 4) : 0);
}

/** Writes one field and no byte beside it. */
export function writePlace(from: Vmcs, place: FieldPlace, bytes: Uint8Array): void {
  const { offset, word } = place;
  const low = from.words[word]!;
  bytes[offset] = low;
  bytes[offset + 1] = low >>> 8;
  if (place.bytes === 2) return;
  bytes[offset + 2] = low >>> 16;
  bytes[offset + 3] = low >>> 24;
  if (place.bytes === 8) writeU32(bytes, offset + 4, from.words[word + 1]!);
}
