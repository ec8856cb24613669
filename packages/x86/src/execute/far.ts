import { field } from '@nvmx/vmx-fields';
import type { Cpu } from '../cpu.ts';
import { isCanonical, raise, raiseGeneralProtection, raiseUndefinedOpcode, Vector } from '../faults.ts';
import { Flag, readFlags, writeFlags } from '../flags.ts';
import type { Executor } from '../instruction.ts';
import { updateAttention, updateMode } from '../mode.ts';
import {
  Descriptor,
  dplOf,
  isNull,
  loadDataSegment,
  markAccessed,
  Rights,
  readDescriptor,
  rightsOf,
  Segment,
  selectorOf,
  setNullSegment,
  setSegment,
} from '../segments.ts';
import { Slot } from '../slot.ts';
import { nextRip } from './control-flow.ts';
import { address, load } from './operands.ts';
import { moveStackPointer, peek, push } from './stack.ts';

const { GUEST_CR0 } = field;
const CR0_PE = 1;
const EFER_LMA = 0x400;
/** Under NMI exiting without virtual NMIs an IRET does not end the blocking of NMIs. */
const PIN_NMI = 8;
const PIN_NMI_AND_VIRTUAL = 0x28;
const RPL = 3;
const code = new Descriptor();

function requireProtectedMode(cpu: Cpu): void {
  if ((cpu.v[GUEST_CR0] & CR0_PE) === 0 || (cpu.r[Slot.SYSTEM_FLAGS] & Flag.VM) !== 0) raiseUndefinedOpcode(cpu);
}

/** Reads the code segment of a far transfer into `code` and checks what all transfers check. */
function readCode(cpu: Cpu, selector: number): void {
  if (isNull(selector)) raiseGeneralProtection(cpu);
  readDescriptor(cpu, selector, code, { vector: Vector.GP, external: 0 });
  const { rights } = code;
  const error = selector & ~RPL;
  if ((rights & (Rights.NOT_SYSTEM | Rights.CODE)) !== (Rights.NOT_SYSTEM | Rights.CODE)) {
    raiseGeneralProtection(cpu, error);
  }
  const bothWidths = (rights & Rights.LONG) !== 0 && (rights & Rights.BIG) !== 0;
  if ((cpu.efer & EFER_LMA) !== 0 && bothWidths) raiseGeneralProtection(cpu, error);
}

function requirePresent(cpu: Cpu, selector: number): void {
  if ((code.rights & Rights.PRESENT) === 0) raise(cpu, Vector.NP, selector & ~RPL);
}

/** Whether RIP fits the code segment in `code`. */
function requireTarget(cpu: Cpu, low: number, high: number): void {
  const isLong = (cpu.efer & EFER_LMA) !== 0 && (code.rights & Rights.LONG) !== 0;
  if (isLong ? !isCanonical(high) : low >>> 0 > code.limit) raiseGeneralProtection(cpu);
}

function enterCode(cpu: Cpu, selector: number, low: number, high: number): void {
  markAccessed(cpu, code);
  setSegment(cpu, Segment.CS, selector, code);
  cpu.r[Slot.RIP] = low;
  cpu.r[Slot.RIP + 1] = high;
}

/** Far JMP or CALL to a code segment of the same privilege. Call gates and task gates fault: not modeled. */
function transfer(cpu: Cpu, selector: number, low: number, high: number): void {
  readCode(cpu, selector);
  const dpl = dplOf(code.rights);
  const conforming = (code.rights & Rights.CONFORMING) !== 0;
  const allowed = conforming ? dpl <= cpu.cpl : (selector & RPL) <= cpu.cpl && dpl === cpu.cpl;
  if (!allowed) raiseGeneralProtection(cpu, selector & ~RPL);
  requirePresent(cpu, selector);
  requireTarget(cpu, low, high);
}

/** JMP M: a far pointer in memory. */
export const jumpFar: Executor = (cpu, i) => {
  requireProtectedMode(cpu);
  const target = readFarPointer(cpu, i.width, address(cpu, i), cpu.r[Slot.ADDRESS_HIGH]);
  const high = cpu.r[Slot.HIGH];
  transfer(cpu, farSelector, target, high);
  enterCode(cpu, (farSelector & ~RPL) | cpu.cpl, target, high);
  updateMode(cpu);
};

/** CALL M: a far pointer in memory. */
export const callFar: Executor = (cpu, i) => {
  requireProtectedMode(cpu);
  const { r } = cpu;
  const target = readFarPointer(cpu, i.width, address(cpu, i), r[Slot.ADDRESS_HIGH]);
  const high = r[Slot.HIGH];
  transfer(cpu, farSelector, target, high);
  const rspLow = r[Slot.RSP];
  const rspHigh = r[Slot.RSP + 1];
  try {
    push(cpu, i.width, selectorOf(cpu, Segment.CS), 0);
    const next = nextRip(cpu, i);
    push(cpu, i.width, next, r[Slot.HIGH]);
  } catch (thrown) {
    r[Slot.RSP] = rspLow;
    r[Slot.RSP + 1] = rspHigh;
    throw thrown;
  }
  enterCode(cpu, (farSelector & ~RPL) | cpu.cpl, target, high);
  updateMode(cpu);
};

let farSelector = 0;

/** Reads an offset of `width` bytes and the selector behind it, which goes to `farSelector`. */
function readFarPointer(cpu: Cpu, width: number, low: number, high: number): number {
  const selectorLow = (low + width) | 0;
  const selectorHigh = high + (selectorLow >>> 0 < width ? 1 : 0);
  farSelector = load(cpu, selectorLow, selectorHigh, 2);
  const value = load(cpu, low, high, width);
  if (width !== 8) cpu.r[Slot.HIGH] = 0;
  return value;
}

/** RETF and RETF Iw. */
export const returnFar: Executor = (cpu, i) => {
  requireProtectedMode(cpu);
  const { r } = cpu;
  const { width } = i;
  const released = i.immediateLow & 0xffff;
  const low = peek(cpu, width, 0);
  const high = width === 8 ? r[Slot.HIGH] : 0;
  const selector = peek(cpu, width, width) & 0xffff;
  readCode(cpu, selector);
  const rpl = checkReturn(cpu, selector);
  requireTarget(cpu, low, high);
  if (rpl === cpu.cpl) {
    enterCode(cpu, selector, low, high);
    moveStackPointer(cpu, 2 * width + released);
    updateMode(cpu);
    return;
  }
  const rspLow = peek(cpu, width, 2 * width + released);
  const rspHigh = width === 8 ? r[Slot.HIGH] : 0;
  const stackSelector = peek(cpu, width, 3 * width + released) & 0xffff;
  enterOuter(cpu, { selector, low, high, stackSelector, rspLow, rspHigh });
  moveStackPointer(cpu, released);
};

/** What RETF and IRET check of the code segment that they return to. Returns its RPL. */
function checkReturn(cpu: Cpu, selector: number): number {
  const rpl = selector & RPL;
  const dpl = dplOf(code.rights);
  if (rpl < cpu.cpl) raiseGeneralProtection(cpu, selector & ~RPL);
  const conforming = (code.rights & Rights.CONFORMING) !== 0;
  if (conforming ? dpl > rpl : dpl !== rpl) raiseGeneralProtection(cpu, selector & ~RPL);
  requirePresent(cpu, selector);
  return rpl;
}

interface OuterFrame {
  readonly selector: number;
  readonly low: number;
  readonly high: number;
  readonly stackSelector: number;
  readonly rspLow: number;
  readonly rspHigh: number;
}

/** Enters `code` together with another stack, with the privilege of the selector. */
function enterOuter(cpu: Cpu, o: OuterFrame): void {
  const { r } = cpu;
  const oldCpl = cpu.cpl;
  const rpl = o.selector & RPL;
  cpu.cpl = rpl;
  const target = new Descriptor();
  Object.assign(target, code);
  try {
    loadStackForReturn(cpu, o.stackSelector, target);
  } finally {
    cpu.cpl = oldCpl;
  }
  Object.assign(code, target);
  enterCode(cpu, o.selector, o.low, o.high);
  r[Slot.RSP] = o.rspLow;
  r[Slot.RSP + 1] = o.rspHigh;
  if (rpl !== oldCpl) dropPrivilegedSegments(cpu, rpl);
  updateMode(cpu);
}

/** SS of the returned-to code: a null selector is allowed in 64-bit mode below CPL 3. */
function loadStackForReturn(cpu: Cpu, selector: number, target: Descriptor): void {
  const toLong = (cpu.efer & EFER_LMA) !== 0 && (target.rights & Rights.LONG) !== 0;
  if (isNull(selector)) {
    if (!toLong || cpu.cpl === 3 || (selector & RPL) !== cpu.cpl) raiseGeneralProtection(cpu);
    setNullSegment(cpu, Segment.SS, selector, cpu.cpl);
    return;
  }
  loadDataSegment(cpu, Segment.SS, selector);
}

/** Data segments that the outer privilege may not use become null. */
function dropPrivilegedSegments(cpu: Cpu, cpl: number): void {
  for (const segment of [Segment.ES, Segment.DS, Segment.FS, Segment.GS]) {
    const rights = rightsOf(cpu, segment);
    if ((rights & Rights.UNUSABLE) !== 0) continue;
    const conformingCode = (rights & (Rights.CODE | Rights.CONFORMING)) === (Rights.CODE | Rights.CONFORMING);
    if (!conformingCode && dplOf(rights) < cpl) setNullSegment(cpu, segment, 0);
  }
}

/** IRET in IA-32e mode: RIP, CS, RFLAGS, RSP and SS are popped, in 64-bit mode always all five. */
export const interruptReturn: Executor = (cpu, i) => {
  requireProtectedMode(cpu);
  const { r } = cpu;
  const { width } = i;
  const oldFlags = readFlags(r);
  if ((oldFlags & Flag.NT) !== 0) raiseGeneralProtection(cpu);
  const low = peek(cpu, width, 0);
  const high = width === 8 ? r[Slot.HIGH] : 0;
  const selector = peek(cpu, width, width) & 0xffff;
  const flags = peek(cpu, width, 2 * width);
  readCode(cpu, selector);
  const rpl = checkReturn(cpu, selector);
  requireTarget(cpu, low, high);
  const oldCpl = cpu.cpl;
  if (cpu.mode === 64 || rpl !== oldCpl) {
    const rspLow = peek(cpu, width, 3 * width);
    const rspHigh = width === 8 ? r[Slot.HIGH] : 0;
    const stackSelector = peek(cpu, width, 4 * width) & 0xffff;
    enterOuter(cpu, { selector, low, high, stackSelector, rspLow, rspHigh });
  } else {
    enterCode(cpu, selector, low, high);
    moveStackPointer(cpu, 3 * width);
    updateMode(cpu);
  }
  writeFlags(r, mergeReturnFlags({ flags, oldFlags, oldCpl, width }));
  if ((cpu.pinControls & PIN_NMI_AND_VIRTUAL) !== PIN_NMI) cpu.nmiBlocked = false;
  updateMode(cpu);
  updateAttention(cpu);
};

function mergeReturnFlags(o: {
  readonly flags: number;
  readonly oldFlags: number;
  readonly oldCpl: number;
  readonly width: number;
}): number {
  let kept: number = Flag.VM;
  if (o.oldCpl !== 0) kept |= Flag.IOPL | Flag.VIF | Flag.VIP;
  if (o.oldCpl > ((o.oldFlags >>> 12) & 3)) kept |= Flag.IF;
  if (o.width === 2) kept |= 0xffff_0000 | 0;
  return (o.flags & ~kept) | (o.oldFlags & kept);
}
