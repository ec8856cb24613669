/**
 * Walks of the guest's paging structures, as pure functions over a reader: the processor walks its own tables through
 * EPT with them, and L0 walks the tables of L1. 64-bit entries: 4-level and 5-level paging, PAE from its PDPTEs.
 */

/** Gives 8 bytes of a paging structure. `low` and `high` hold the entry after a `read` that returned true. */
export interface TableReader {
  readonly low: number;
  readonly high: number;
  /** Reads the entry at `address` (8-byte aligned). False: nobody can read there now; the walk ends as 'unreadable'. */
  read(address: number): boolean;
  /** Sets `bits` in the low word of the entry at `address`: accessed and dirty flags. */
  setBits(address: number, bits: number): void;
}

/** `PagingAccess` bits: what is asked of the translation, and the processor state that the rules depend on. */
export const pagingAccess = {
  write: 1,
  execute: 2,
  /** The access is made with user privilege (CPL 3, explicit). */
  user: 4,
  /** CR0.WP. */
  writeProtect: 8,
  /** IA32_EFER.NXE. */
  noExecute: 16,
  /** CR4.SMEP. */
  smep: 32,
  /** CR4.SMAP and not (RFLAGS.AC and an explicit access). */
  smap: 64,
  /** Leave accessed and dirty flags alone: a debugger's view. */
  noUpdate: 128,
  /** 1-GiB pages exist (CPUID). */
  gigabytePages: 256,
} as const;

/** What to translate, and by which rules. */
export interface PagingRequest {
  /** Address of the top table: CR3 bits 51:12 as a page address. */
  root: number;
  /** 4 or 5; 2 for a walk that starts at a PAE page directory. */
  levels: number;
  linearLow: number;
  linearHigh: number;
  /** `pagingAccess` bits. */
  access: number;
  physicalAddressBits: number;
}

/** Where a walk ended. */
export enum WalkOutcome {
  OK = 0,
  /** Page fault with `errorCode`. */
  FAULT = 1,
  /** The reader had no bytes at `entryAddress`. */
  UNREADABLE = 2,
}

/** Result of `walkPaging`, written in place so that a walk allocates nothing. */
export class PagingWalk {
  outcome: WalkOutcome = WalkOutcome.OK;
  /** Page-fault error code. */
  errorCode = 0;
  /** The translated address, including the offset in the page. */
  physical = 0;
  /** log2 of the page size: 12, 21 or 30. */
  pageShift = 12;
  /** A later write would be permitted under the same request and would set no flag. */
  writable = false;
  /** Address of the last entry that was read. */
  entryAddress = 0;
}

const P = 1;
const RW = 2;
const US = 4;
const A = 0x20;
const D = 0x40;
const PS = 0x80;
const NX_HIGH = 0x8000_0000 | 0;
const ADDRESS_HIGH_MASK = 0x000f_ffff;
const TWO_32 = 2 ** 32;

const ERROR_P = 1;
const ERROR_W = 2;
const ERROR_U = 4;
const ERROR_RSVD = 8;
const ERROR_I = 16;

const LEVELS_MAX = 5;
const pathAddresses = new Float64Array(LEVELS_MAX);
const pathLow = new Int32Array(LEVELS_MAX);

/** Bits 51:12 of an entry as an address. */
export function entryAddress(low: number, high: number): number {
  return (high & ADDRESS_HIGH_MASK) * TWO_32 + ((low & ~0xfff) >>> 0);
}

/** Bits of the high word that must be 0 because the physical address has only `bits` bits. Bits 62:52 are ignored. */
export function reservedHighMask(bits: number): number {
  return ADDRESS_HIGH_MASK & ~(2 ** (bits - 32) - 1);
}

/**
 * Translates a linear address. Sets accessed flags along the way, and the dirty flag for a write, only when the access
 * is permitted. The address is taken to be canonical.
 * Source: SDM volume 3, "4-Level Paging and 5-Level Paging", "Access Rights", "Page-Fault Exceptions".
 */
export function walkPaging(reader: TableReader, request: PagingRequest, walk: PagingWalk): WalkOutcome {
  const { access, linearLow, linearHigh } = request;
  const reservedHigh = reservedHighMask(request.physicalAddressBits);
  let table = request.root;
  let allowed = RW | US;
  let executable = true;
  let level = request.levels;
  let depth = 0;
  let low = 0;
  let high = 0;
  for (; ; level--) {
    const address = table + indexAt(linearLow, linearHigh, level) * 8;
    walk.entryAddress = address;
    if (!reader.read(address)) return finish(walk, WalkOutcome.UNREADABLE);
    low = reader.low;
    high = reader.high;
    if ((low & P) === 0) return fault(walk, access, 0);
    if (isReserved(low, high, { level, reservedHigh, access })) return fault(walk, access, ERROR_P | ERROR_RSVD);
    pathAddresses[depth] = address;
    pathLow[depth++] = low;
    allowed &= low;
    if ((access & pagingAccess.noExecute) !== 0 && high < 0) executable = false;
    if (level === 1 || ((low & PS) !== 0 && level <= 3)) break;
    table = entryAddress(low, high);
  }
  if (!isAllowed(access, allowed, executable)) return fault(walk, access, ERROR_P);
  if ((access & pagingAccess.noUpdate) === 0) setFlags(reader, depth, (access & pagingAccess.write) !== 0);
  walk.pageShift = 12 + 9 * (level - 1);
  const pageBytes = 2 ** walk.pageShift;
  const page = entryAddress(low, high);
  walk.physical = page - (page % pageBytes) + offsetInPage(linearLow, walk.pageShift);
  walk.writable =
    ((access & pagingAccess.write) !== 0 || (low & D) !== 0) && isAllowed(access | pagingAccess.write, allowed, true);
  return finish(walk, WalkOutcome.OK);
}

function indexAt(low: number, high: number, level: number): number {
  switch (level) {
    case 1:
      return (low >>> 12) & 511;
    case 2:
      return (low >>> 21) & 511;
    case 3:
      return ((low >>> 30) | (high << 2)) & 511;
    case 4:
      return (high >>> 7) & 511;
    default:
      return (high >>> 16) & 511;
  }
}

function offsetInPage(low: number, shift: number): number {
  return (low & (2 ** shift - 1)) >>> 0;
}

function isReserved(
  low: number,
  high: number,
  o: { readonly level: number; readonly reservedHigh: number; readonly access: number },
): boolean {
  if ((high & o.reservedHigh) !== 0) return true;
  if ((o.access & pagingAccess.noExecute) === 0 && (high & NX_HIGH) !== 0) return true;
  if (o.level === 1 || (low & PS) === 0) return false;
  if (o.level === 2) return (low & 0x1f_e000) !== 0;
  if (o.level === 3) return (o.access & pagingAccess.gigabytePages) === 0 || (low & 0x3fff_e000) !== 0;
  return true;
}

/** `allowed` is the AND of all entries of the path. */
function isAllowed(access: number, allowed: number, executable: boolean): boolean {
  const userPage = (allowed & US) !== 0;
  if ((access & pagingAccess.user) !== 0) {
    if (!userPage) return false;
    if ((access & pagingAccess.write) !== 0 && (allowed & RW) === 0) return false;
    return (access & pagingAccess.execute) === 0 || executable;
  }
  if ((access & pagingAccess.execute) !== 0) {
    return executable && !(userPage && (access & pagingAccess.smep) !== 0);
  }
  if (userPage && (access & pagingAccess.smap) !== 0) return false;
  return (access & pagingAccess.write) === 0 || (allowed & RW) !== 0 || (access & pagingAccess.writeProtect) === 0;
}

function setFlags(reader: TableReader, depth: number, write: boolean): void {
  for (let n = 0; n < depth; n++) {
    const wanted = n === depth - 1 && write ? A | D : A;
    if ((pathLow[n] & wanted) !== wanted) reader.setBits(pathAddresses[n], wanted);
  }
}

function fault(walk: PagingWalk, access: number, cause: number): WalkOutcome {
  const fetchIsReported = (access & (pagingAccess.noExecute | pagingAccess.smep)) !== 0;
  walk.errorCode =
    cause |
    ((access & pagingAccess.write) !== 0 ? ERROR_W : 0) |
    ((access & pagingAccess.user) !== 0 ? ERROR_U : 0) |
    ((access & pagingAccess.execute) !== 0 && fetchIsReported ? ERROR_I : 0);
  return finish(walk, WalkOutcome.FAULT);
}

function finish(walk: PagingWalk, outcome: WalkOutcome): WalkOutcome {
  walk.outcome = outcome;
  return outcome;
}
