import { assert } from './assert.ts';
import { type FieldPlace, fieldPlaces, readPlace, readU32, writePlace } from './bytes.ts';
import { type FieldName, fieldRows } from './fields.ts';
import { evmcsCleanFields } from './generated/evmcs-clean-fields.ts';
import { evmcsCopyTuples, evmcsLayout } from './generated/evmcs-layout.ts';
import { field } from './generated/vmcs-fields.ts';
import type { Vmcs } from './vmcs.ts';

/** Bytes of an enlightened VMCS, at the start of its page. */
export const EVMCS_BYTES = 1024;

/** The revision of enlightened VMCS version 1. KVM also accepts {@link VMCS12_REVISION}. */
export const EVMCS_REVISION = 1;

/** Bits of hv_enlightenments_control. */
export const evmcsEnlightenments: { readonly NESTED_FLUSH_HYPERCALL: number; readonly MSR_BITMAP: number } = {
  NESTED_FLUSH_HYPERCALL: 1,
  MSR_BITMAP: 2,
};

/** The clean-field group of a field as a mask: all bits for a field without a group of its own, 0 for one that no bit covers. */
export function evmcsCleanMask(group: string): number {
  const mask = evmcsCleanFields[group as keyof typeof evmcsCleanFields];
  assert(mask !== undefined, `no clean-field group is called ${group}`);
  return mask;
}

/**
 * Copies what L1 may have changed out of an enlightened VMCS: copy_enlightened_to_vmcs12() in KVM. A group whose bit is set
 * in `cleanFields` is left; TPR_THRESHOLD and GUEST_RIP are always copied. Fields that KVM never copies are left, too.
 */
export function decodeEvmcs(bytes: Uint8Array, into: Vmcs, { cleanFields }: { cleanFields: number }): void {
  assertLength(bytes);
  rules ??= evmcsRules();
  for (const { place, unless, copiedIn } of rules) {
    if (copiedIn && (cleanFields & unless) === 0) readPlace(bytes, place, into);
  }
}

/** Copies what L1 may read after an exit into an enlightened VMCS: copy_vmcs12_to_enlightened() in KVM. */
export function encodeEvmcs(from: Vmcs, bytes: Uint8Array): void {
  assertLength(bytes);
  rules ??= evmcsRules();
  for (const { place, copiedOut } of rules) {
    if (copiedOut) writePlace(from, place, bytes);
  }
}

/** What precedes and surrounds the fields of an enlightened VMCS. */
export interface EvmcsHeader {
  readonly revision: number;
  readonly cleanFields: number;
  readonly enlightenmentsControl: number;
  readonly vpId: number;
}

/** Reads what is not a VMCS field. Asserts {@link EVMCS_BYTES} bytes; judges nothing. */
export function decodeEvmcsHeader(bytes: Uint8Array): EvmcsHeader {
  assertLength(bytes);
  return {
    revision: readU32(bytes, evmcsLayout.revision_id.offset),
    cleanFields: readU32(bytes, evmcsLayout.hv_clean_fields.offset),
    enlightenmentsControl: readU32(bytes, evmcsLayout.hv_enlightenments_control.offset),
    vpId: readU32(bytes, evmcsLayout.hv_vp_id.offset),
  };
}

interface EvmcsRule {
  readonly place: FieldPlace;
  /** Clean bits that forbid the copy. */
  readonly unless: number;
  readonly copiedIn: boolean;
  readonly copiedOut: boolean;
}

let rules: readonly EvmcsRule[] | undefined;

function evmcsRules(): EvmcsRule[] {
  const placesByWord = new Map(fieldPlaces('evmcsOffset').map((place) => [place.word, place]));
  const groups = new Map(fieldRows.map((row) => [row.name, row.evmcsCleanGroup]));
  return evmcsCopyTuples.map(([name, copiedIn, copiedOut]) => ({
    place: placesByWord.get(field[name as FieldName])!,
    unless: copiedIn === 2 ? evmcsCleanMask(groups.get(name as FieldName)!) : 0,
    copiedIn: copiedIn !== 0,
    copiedOut: copiedOut === 1,
  }));
}

function assertLength(bytes: Uint8Array): void {
  assert(bytes.length >= EVMCS_BYTES, `an enlightened VMCS has ${EVMCS_BYTES} bytes, not ${bytes.length}`);
}
