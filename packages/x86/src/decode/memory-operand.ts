import { Attribute, type Instruction, NO_SEGMENT, NO_SLOT } from '../instruction.ts';
import { baseWord, Segment } from '../segments.ts';
import { Slot } from '../slot.ts';
import type { ByteCursor } from './byte-cursor.ts';
import { NO_OVERRIDE, type Prefixes, Rex } from './prefixes.ts';

const SIB = 4;
const NO_BASE = 5;
const RIP_RELATIVE = 5;
const DISPLACEMENT_16 = 6;

/** Base and index registers of 16-bit addressing, by ModRM.rm. */
const BASE_16 = [Slot.RBX, Slot.RBX, Slot.RBP, Slot.RBP, Slot.RSI, Slot.RDI, Slot.RBP, Slot.RBX];
const INDEX_16 = [Slot.RSI, Slot.RDI, Slot.RSI, Slot.RDI, NO_SLOT, NO_SLOT, NO_SLOT, NO_SLOT];

/** Decodes the memory operand of ModRM, without its segment. `i.modrm` and `i.addressWidth` are set. */
export function decodeModrmAddress(i: Instruction, cursor: ByteCursor, prefixes: Prefixes): void {
  i.attributes |= Attribute.MEMORY;
  i.segmentNumber = Segment.DS;
  if (i.addressWidth === 2) decodeAddress16(i, cursor);
  else decodeAddress(i, cursor, prefixes.rex);
}

/** Decodes the address of a MOV without ModRM. */
export function decodeOffset(i: Instruction, cursor: ByteCursor): void {
  i.attributes |= Attribute.MEMORY;
  i.segmentNumber = Segment.DS;
  i.displacementLow = i.addressWidth === 2 ? cursor.word() : cursor.doubleword();
  i.displacementHigh = i.addressWidth === 8 ? cursor.doubleword() : 0;
}

/** Applies the override to `i.segmentNumber`. In 64-bit mode only FS and GS have a base that counts. */
export function setSegment(i: Instruction, prefixes: Prefixes): void {
  if (prefixes.override !== NO_OVERRIDE) i.segmentNumber = prefixes.override;
  const hasBase = i.mode !== 64 || i.segmentNumber >= Segment.FS;
  i.segment = hasBase ? baseWord(i.segmentNumber) : NO_SEGMENT;
}

/** [rSI] has a segment that can be overridden, [rDI] is always in ES: its base word goes to `immediate2`. */
export function setStringSegments(i: Instruction, prefixes: Prefixes): void {
  i.segmentNumber = Segment.DS;
  setSegment(i, prefixes);
  i.immediate2 = i.mode === 64 ? NO_SEGMENT : baseWord(Segment.ES);
}

function decodeAddress(i: Instruction, cursor: ByteCursor, rex: number): void {
  const mod = i.modrm >> 6;
  const rm = i.modrm & 7;
  if (rm === RIP_RELATIVE && mod === 0) {
    i.base = i.mode === 64 ? Slot.PAGE : Slot.ZERO;
    setDisplacement(i, cursor.doubleword());
    return;
  }
  const base = rm === SIB ? decodeSib(i, cursor, rex) : rm;
  if (rm === SIB && base === NO_BASE && mod === 0) {
    setDisplacement(i, cursor.doubleword());
    return;
  }
  i.base = 2 * (base | ((rex & Rex.B) << 3));
  if (i.base === Slot.RSP || i.base === Slot.RBP) i.segmentNumber = Segment.SS;
  if (mod === 1) setDisplacement(i, cursor.signedByte());
  else if (mod === 2) setDisplacement(i, cursor.doubleword());
}

/** Sets index and scale; returns the base field. */
function decodeSib(i: Instruction, cursor: ByteCursor, rex: number): number {
  const sib = cursor.byte();
  const index = ((sib >> 3) & 7) | ((rex & Rex.X) << 2);
  if (index !== SIB) {
    i.index = 2 * index;
    i.scale = sib >> 6;
  }
  return sib & 7;
}

function decodeAddress16(i: Instruction, cursor: ByteCursor): void {
  const mod = i.modrm >> 6;
  const rm = i.modrm & 7;
  if (mod === 0 && rm === DISPLACEMENT_16) {
    setDisplacement(i, cursor.signedWord());
    return;
  }
  i.base = BASE_16[rm];
  i.index = INDEX_16[rm];
  if (i.base === Slot.RBP) i.segmentNumber = Segment.SS;
  if (mod === 1) setDisplacement(i, cursor.signedByte());
  else if (mod === 2) setDisplacement(i, cursor.signedWord());
}

function setDisplacement(i: Instruction, value: number): void {
  i.displacementLow = value;
  i.displacementHigh = value >> 31;
}
