import { assert } from './assert.ts';
import { type FieldPlace, fieldPlaces, readPlace, readU32, writePlace, writeU32 } from './bytes.ts';
import { vmcs12Layout } from './generated/vmcs12-layout.ts';
import type { Vmcs } from './vmcs.ts';

/** The VMCS revision identifier that KVM reports to L1. */
export const VMCS12_REVISION = 0x11e57ed0;

/** Bytes of the region that L1 provides. */
export const VMCS12_BYTES = 4096;

/** Bytes of it that hold anything: struct vmcs12 of KVM. */
export const VMCS12_USED_BYTES = /* @__PURE__ */ usedBytes();

/** What precedes the fields in a vmcs12. */
export interface Vmcs12Header {
  /** Bits 30:0 of the first word. */
  revision: number;
  /** Bit 31 of the first word: a shadow VMCS. */
  shadow: boolean;
  /** VMX-abort indicator. */
  abort: number;
  /** 0 is clear, 1 is launched. */
  launchState: number;
}

/**
 * Reads a vmcs12 out of L1's memory. Sets every field that vmcs12 holds and leaves all others as they are.
 * Judges nothing: the revision is returned, not checked. Asserts at least {@link VMCS12_USED_BYTES} bytes.
 */
export function decodeVmcs12(bytes: Uint8Array, into: Vmcs): Vmcs12Header {
  assertLength(bytes);
  places ??= fieldPlaces('vmcs12Offset');
  for (const place of places) readPlace(bytes, place, into);
  const first = readU32(bytes, vmcs12Layout.hdr.offset);
  return {
    revision: first & 0x7fff_ffff,
    shadow: first >>> 31 === 1,
    abort: readU32(bytes, vmcs12Layout.abort.offset),
    launchState: readU32(bytes, vmcs12Layout.launch_state.offset),
  };
}

/** Writes header and fields. Padding and the tail keep what is there, so that decode and encode together change no byte. */
export function encodeVmcs12(from: Vmcs, header: Vmcs12Header, bytes: Uint8Array): void {
  assertLength(bytes);
  places ??= fieldPlaces('vmcs12Offset');
  for (const place of places) writePlace(from, place, bytes);
  writeU32(bytes, vmcs12Layout.hdr.offset, header.revision | (header.shadow ? 0x8000_0000 : 0));
  writeU32(bytes, vmcs12Layout.abort.offset, header.abort);
  writeU32(bytes, vmcs12Layout.launch_state.offset, header.launchState);
}

let places: readonly FieldPlace[] | undefined;

function usedBytes(): number {
  return vmcs12Layout.tail.offset;
}

function assertLength(bytes: Uint8Array): void {
  assert(bytes.length >= VMCS12_USED_BYTES, `a vmcs12 has ${VMCS12_USED_BYTES} bytes, not ${bytes.length}`);
}
