import { entryAddress, reservedHighMask, type TableReader } from './paging.ts';

/** Kinds of access of an EPT walk, in place as exit qualification bits 2:0. */
export const eptAccess = { read: 1, write: 2, execute: 4 } as const;

/** What to translate, and under which EPT pointer. */
export interface EptRequest {
  /** Value of EPT_POINTER. */
  pointerLow: number;
  pointerHigh: number;
  /** Guest-physical address. */
  physical: number;
  /** `eptAccess` bits; more than one for a read-modify-write. */
  access: number;
  physicalAddressBits: number;
  /** Execute-only translations exist (IA32_VMX_EPT_VPID_CAP bit 0). */
  executeOnly: boolean;
}

/** Where an EPT walk ended. */
export enum EptOutcome {
  OK = 0,
  /** EPT violation: `permissions` are bits 5:3 of the exit qualification, shifted down. */
  VIOLATION = 1,
  MISCONFIGURATION = 2,
  UNREADABLE = 3,
}

/** Result of `walkEpt`, written in place so that a walk allocates nothing. */
export class EptWalk {
  outcome: EptOutcome = EptOutcome.OK;
  /** The translated address, including the offset in the page. */
  physical = 0;
  /** log2 of the page size: 12, 21 or 30. */
  pageShift = 12;
  /** AND of the read, write and execute permissions of all entries that were reached; 0 from the first entry without any. */
  permissions = 0;
  /** A later write would be permitted and would set no flag. */
  writable = false;
  /** Address of the last entry that was read. */
  entryAddress = 0;
}

const READ = 1;
const WRITE = 2;
const EXECUTE = 4;
const ALL = 7;
const LARGE = 0x80;
const A = 0x100;
const D = 0x200;
const POINTER_AD = 0x40;
const TABLE_RESERVED = 0x78;
const TABLE_RESERVED_TOP = 0xf8;
const LEVELS_MAX = 5;
const pathAddresses = new Float64Array(LEVELS_MAX);
const pathLow = new Int32Array(LEVELS_MAX);

/** Whether an EPT pointer enables accessed and dirty flags. */
export function eptFlagsEnabled(pointerLow: number): boolean {
  return (pointerLow & POINTER_AD) !== 0;
}

/**
 * Translates a guest-physical address. With accessed and dirty flags enabled it sets them when the access is permitted.
 * Source: SDM volume 3, "EPT Translation Mechanism", "EPT-Induced VM Exits", "Accessed and Dirty Flags for EPT".
 */
export function walkEpt(reader: TableReader, request: EptRequest, walk: EptWalk): EptOutcome {
  const { physical, access } = request;
  const reservedHigh = reservedHighMask(request.physicalAddressBits);
  const levels = ((request.pointerLow >>> 3) & 7) + 1;
  let table = entryAddress(request.pointerLow, request.pointerHigh);
  let level = levels;
  let depth = 0;
  walk.permissions = ALL;
  for (; ; level--) {
    const address = table + (Math.floor(physical / 2 ** (3 + 9 * level)) % 512) * 8;
    walk.entryAddress = address;
    if (!reader.read(address)) return finish(walk, EptOutcome.UNREADABLE);
    const { low, high } = reader;
    walk.permissions &= low;
    if ((low & ALL) === 0) return finish(walk, EptOutcome.VIOLATION);
    if (isMisconfigured(low, high, { level, reservedHigh, executeOnly: request.executeOnly })) {
      return finish(walk, EptOutcome.MISCONFIGURATION);
    }
    pathAddresses[depth] = address;
    pathLow[depth++] = low;
    table = entryAddress(low, high);
    if (level === 1 || ((low & LARGE) !== 0 && level <= 3)) break;
  }
  if ((walk.permissions & access) !== access) return finish(walk, EptOutcome.VIOLATION);
  const flags = eptFlagsEnabled(request.pointerLow);
  const write = (access & WRITE) !== 0;
  if (flags) setFlags(reader, depth, write);
  walk.pageShift = 12 + 9 * (level - 1);
  const pageBytes = 2 ** walk.pageShift;
  walk.physical = table - (table % pageBytes) + (physical % pageBytes);
  walk.writable = (walk.permissions & WRITE) !== 0 && (!flags || write || (pathLow[depth - 1] & D) !== 0);
  return finish(walk, EptOutcome.OK);
}

function isMisconfigured(
  low: number,
  high: number,
  o: { readonly level: number; readonly reservedHigh: number; readonly executeOnly: boolean },
): boolean {
  if ((low & (READ | WRITE)) === WRITE) return true;
  if ((low & ALL) === EXECUTE && !o.executeOnly) return true;
  if ((high & o.reservedHigh) !== 0) return true;
  const isLeaf = o.level === 1 || ((low & LARGE) !== 0 && o.level <= 3);
  if (!isLeaf) return (low & (o.level >= 4 ? TABLE_RESERVED_TOP : TABLE_RESERVED)) !== 0;
  if (o.level === 2 && (low & 0x1f_f000) !== 0) return true;
  if (o.level === 3 && (low & 0x3fff_f000) !== 0) return true;
  const memoryType = (low >>> 3) & 7;
  return memoryType === 2 || memoryType === 3 || memoryType === 7;
}

function setFlags(reader: TableReader, depth: number, write: boolean): void {
  for (let n = 0; n < depth; n++) {
    const wanted = n === depth - 1 && write ? A | D : A;
    if ((pathLow[n] & wanted) !== wanted) reader.setBits(pathAddresses[n], wanted);
  }
}

function finish(walk: EptWalk, outcome: EptOutcome): EptOutcome {
  walk.outcome = outcome;
  return outcome;
}
