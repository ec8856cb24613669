import type { Cpu } from '../cpu.ts';
import { Flag } from '../flags.ts';
import { Attribute, type Executor, type Instruction, NO_SEGMENT } from '../instruction.ts';
import { Slot } from '../slot.ts';
import { DATA_MASK, DATA_SHIFT, PAGE_MASK } from '../tlb.ts';
import { alu32, alu64, aluNarrow } from './alu.ts';
import { Alu } from './alu-operation.ts';
import { decrementCounter, fallThrough, isCounterZero, stayHere } from './control-flow.ts';
import { load, readRegister, store, writeRegister } from './operands.ts';

/** Iterations between two looks at pending events. */
const ITERATIONS_MAX = 1024;
const PAGE_OFFSET = 0xfff;
const PAGE_BYTES = 0x1000;

/** One iteration of a string instruction without its counter. True ends a repetition by condition. */
type Step = (cpu: Cpu, i: Instruction) => boolean;

/** Linear address of [rSI] through its segment; high word in `Slot.ADDRESS_HIGH`. */
function sourceAddress(cpu: Cpu, i: Instruction): number {
  return pointer(cpu, Slot.RSI, i.addressWidth, i.segment);
}

/** Linear address of [rDI] through ES. `immediate2` holds the word of the base of ES where it counts. */
export function destinationAddress(cpu: Cpu, i: Instruction): number {
  return pointer(cpu, Slot.RDI, i.addressWidth, i.immediate2);
}

export { sourceAddress };

function pointer(cpu: Cpu, slot: number, addressWidth: number, segment: number): number {
  const { r } = cpu;
  let low = r[slot];
  let high = addressWidth === 8 ? r[slot + 1] : 0;
  if (addressWidth === 2) low &= 0xffff;
  if (segment !== NO_SEGMENT) {
    const sum = (low >>> 0) + cpu.v[segment];
    high = cpu.mode === 64 ? (high + cpu.v[segment + 1] + (sum > 0xffff_ffff ? 1 : 0)) | 0 : 0;
    low = sum | 0;
  }
  r[Slot.ADDRESS_HIGH] = high;
  return low;
}

/** Moves rSI or rDI by `bytes`, in the width of addresses. */
export function movePointer(cpu: Cpu, slot: number, addressWidth: number, bytes: number): void {
  const { r } = cpu;
  if (addressWidth === 2) {
    cpu.r16[slot * 2] += bytes;
    return;
  }
  const old = r[slot];
  const low = (old + bytes) | 0;
  r[slot] = low;
  if (addressWidth === 4) r[slot + 1] = 0;
  else if (bytes < 0) r[slot + 1] = r[slot + 1] - (old >>> 0 < -bytes ? 1 : 0);
  else r[slot + 1] = r[slot + 1] + (low >>> 0 < bytes ? 1 : 0);
}

/** Bytes from one element to the next: negative with RFLAGS.DF. */
export function stride(cpu: Cpu, i: Instruction): number {
  return (cpu.r[Slot.SYSTEM_FLAGS] & Flag.DF) !== 0 ? -i.width : i.width;
}

const moveStep: Step = (cpu, i) => {
  const { r } = cpu;
  const from = sourceAddress(cpu, i);
  const value = load(cpu, from, r[Slot.ADDRESS_HIGH], i.width);
  const valueHigh = r[Slot.HIGH];
  const to = destinationAddress(cpu, i);
  store(cpu, to, r[Slot.ADDRESS_HIGH], i.width, value, valueHigh);
  const bytes = stride(cpu, i);
  movePointer(cpu, Slot.RSI, i.addressWidth, bytes);
  movePointer(cpu, Slot.RDI, i.addressWidth, bytes);
  return false;
};

const storeStep: Step = (cpu, i) => {
  const { r } = cpu;
  const to = destinationAddress(cpu, i);
  store(cpu, to, r[Slot.ADDRESS_HIGH], i.width, r[Slot.RAX], r[Slot.RAX + 1]);
  movePointer(cpu, Slot.RDI, i.addressWidth, stride(cpu, i));
  return false;
};

const loadStep: Step = (cpu, i) => {
  const from = sourceAddress(cpu, i);
  const value = load(cpu, from, cpu.r[Slot.ADDRESS_HIGH], i.width);
  writeRegister(cpu, Slot.RAX, i.width, value, cpu.r[Slot.HIGH]);
  movePointer(cpu, Slot.RSI, i.addressWidth, stride(cpu, i));
  return false;
};

function compare(cpu: Cpu, i: Instruction, a: number, aHigh: number, b: number, bHigh: number): boolean {
  const { r } = cpu;
  if (i.width === 8) alu64(r, Alu.CMP, a, aHigh, b, bHigh);
  else if (i.width === 4) alu32(r, Alu.CMP, a, b);
  else aluNarrow(r, Alu.CMP, a, b, 32 - 8 * i.width);
  const equal = r[Slot.ZERO_TEST] === 0;
  return (i.attributes & Attribute.REPNE) !== 0 ? equal : !equal;
}

const compareStep: Step = (cpu, i) => {
  const { r } = cpu;
  const from = sourceAddress(cpu, i);
  const a = load(cpu, from, r[Slot.ADDRESS_HIGH], i.width);
  const aHigh = r[Slot.HIGH];
  const to = destinationAddress(cpu, i);
  const b = load(cpu, to, r[Slot.ADDRESS_HIGH], i.width);
  const bytes = stride(cpu, i);
  const ends = compare(cpu, i, a, aHigh, b, r[Slot.HIGH]);
  movePointer(cpu, Slot.RSI, i.addressWidth, bytes);
  movePointer(cpu, Slot.RDI, i.addressWidth, bytes);
  return ends;
};

const scanStep: Step = (cpu, i) => {
  const { r } = cpu;
  const to = destinationAddress(cpu, i);
  const b = load(cpu, to, r[Slot.ADDRESS_HIGH], i.width);
  const bHigh = r[Slot.HIGH];
  const a = readRegister(cpu, Slot.RAX, i.width);
  const ends = compare(cpu, i, a, r[Slot.HIGH], b, bHigh);
  movePointer(cpu, Slot.RDI, i.addressWidth, stride(cpu, i));
  return ends;
};

/** Carries out a step once or, with REP, as long as the counter lasts; a fault leaves counter and pointers in between. */
function repeat(cpu: Cpu, i: Instruction, step: Step): void {
  if ((i.attributes & (Attribute.REP | Attribute.REPNE)) === 0) {
    step(cpu, i);
    fallThrough(cpu, i);
    return;
  }
  const iterations = isSingleStep(cpu) ? 1 : ITERATIONS_MAX;
  for (let n = 0; n < iterations; n++) {
    if (isCounterZero(cpu, i.addressWidth)) {
      fallThrough(cpu, i);
      return;
    }
    const ends = step(cpu, i);
    decrementCounter(cpu, i.addressWidth);
    if (ends) {
      fallThrough(cpu, i);
      return;
    }
  }
  stayHere(cpu, i);
}

/** Under RFLAGS.TF each iteration is followed by a trap. */
function isSingleStep(cpu: Cpu): boolean {
  return (cpu.r[Slot.SYSTEM_FLAGS] & Flag.TF) !== 0;
}

/** Elements that a whole-page operation may take on: up the page, as far as the counter goes; 0 when it may not. */
function bulkCount(cpu: Cpu, i: Instruction, low: number): number {
  const { r } = cpu;
  const upward = (r[Slot.SYSTEM_FLAGS] & Flag.DF) === 0;
  if (!upward || i.addressWidth === 2 || (low & (i.width - 1)) !== 0) return 0;
  const counter = i.addressWidth === 8 && r[Slot.RCX + 1] !== 0 ? PAGE_BYTES : r[Slot.RCX] >>> 0;
  return Math.min(counter, (PAGE_BYTES - (low & PAGE_OFFSET)) / i.width);
}

/** Host-physical address when the TLB allows a direct access, else -1. `tag` 0: read, 1: write. */
function directAddress(cpu: Cpu, low: number, high: number, tag: number): number {
  const e = (low >>> DATA_SHIFT) & DATA_MASK;
  const hit = cpu.tlb[e + tag] === (low & PAGE_MASK) && cpu.tlb[e + 2] === high;
  return hit ? (cpu.tlb[e + 3] + (low & PAGE_OFFSET)) >>> 0 : -1;
}

function advance(cpu: Cpu, i: Instruction, slot: number, count: number): void {
  movePointer(cpu, slot, i.addressWidth, count * i.width);
}

function reduceCounter(cpu: Cpu, i: Instruction, count: number): void {
  const { r } = cpu;
  const old = r[Slot.RCX];
  r[Slot.RCX] = old - count;
  r[Slot.RCX + 1] = i.addressWidth === 8 ? r[Slot.RCX + 1] - (old >>> 0 < count ? 1 : 0) : 0;
}

/** REP STOS up to the end of a page at once. */
function bulkStore(cpu: Cpu, i: Instruction): boolean {
  const { r } = cpu;
  const low = destinationAddress(cpu, i);
  const count = bulkCount(cpu, i, low);
  const at = count > 1 ? directAddress(cpu, low, r[Slot.ADDRESS_HIGH], 1) : -1;
  if (at < 0) return false;
  if (i.width === 1) cpu.u8.fill(r[Slot.RAX], at, at + count);
  else if (i.width === 2) cpu.u16.fill(r[Slot.RAX], at >>> 1, (at >>> 1) + count);
  else if (i.width === 4 || r[Slot.RAX] === r[Slot.RAX + 1]) {
    cpu.i32.fill(r[Slot.RAX], at >>> 2, (at >>> 2) + (count * i.width) / 4);
  } else {
    for (let n = 0; n < count; n++) {
      cpu.i32[(at >>> 2) + 2 * n] = r[Slot.RAX];
      cpu.i32[(at >>> 2) + 2 * n + 1] = r[Slot.RAX + 1];
    }
  }
  advance(cpu, i, Slot.RDI, count);
  reduceCounter(cpu, i, count);
  return true;
}

/** REP MOVS up to the end of a page at once, unless the copy feeds on itself. */
function bulkMove(cpu: Cpu, i: Instruction): boolean {
  const { r } = cpu;
  const from = sourceAddress(cpu, i);
  const fromHigh = r[Slot.ADDRESS_HIGH];
  const to = destinationAddress(cpu, i);
  const count = Math.min(bulkCount(cpu, i, from), bulkCount(cpu, i, to));
  if (count <= 1) return false;
  const target = directAddress(cpu, to, r[Slot.ADDRESS_HIGH], 1);
  const source = directAddress(cpu, from, fromHigh, 0);
  const bytes = count * i.width;
  if (target < 0 || source < 0 || (target > source && target < source + bytes)) return false;
  cpu.u8.copyWithin(target, source, source + bytes);
  advance(cpu, i, Slot.RSI, count);
  advance(cpu, i, Slot.RDI, count);
  reduceCounter(cpu, i, count);
  return true;
}

function isBulk(cpu: Cpu, i: Instruction): boolean {
  return (i.attributes & (Attribute.REP | Attribute.REPNE)) !== 0 && !isSingleStep(cpu);
}

export const moveString: Executor = (cpu, i) => {
  if (isBulk(cpu, i) && bulkMove(cpu, i)) stayHere(cpu, i);
  else repeat(cpu, i, moveStep);
};

export const storeString: Executor = (cpu, i) => {
  if (isBulk(cpu, i) && bulkStore(cpu, i)) stayHere(cpu, i);
  else repeat(cpu, i, storeStep);
};

export const loadString: Executor = (cpu, i) => repeat(cpu, i, loadStep);
export const compareString: Executor = (cpu, i) => repeat(cpu, i, compareStep);
export const scanString: Executor = (cpu, i) => repeat(cpu, i, scanStep);
