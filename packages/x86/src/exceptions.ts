import { field } from '@nvmx/vmx-fields';
import { Attention, type Cpu, Exiting, Shadow, UNWIND } from './cpu.ts';
import { isCanonical, raise, raiseGeneralProtection, Vector } from './faults.ts';
import { Flag, readFlags, writeFlags } from './flags.ts';
import { store64 } from './linear-memory.ts';
import { updateAttention, updateMode } from './mode.ts';
import {
  baseWord,
  beginSystemAccess,
  Descriptor,
  dplOf,
  endSystemAccess,
  isNull,
  limitOf,
  markAccessed,
  Rights,
  readDescriptor,
  Segment,
  selectorOf,
  setNullSegment,
  setSegment,
  systemLoad64,
} from './segments.ts';
import { Slot } from './slot.ts';
import { Exit, exitForEvent, recordExit } from './vm-exit.ts';

const {
  EXCEPTION_BITMAP,
  PAGE_FAULT_ERROR_CODE_MASK,
  PAGE_FAULT_ERROR_CODE_MATCH,
  GUEST_IDTR_BASE,
  GUEST_IDTR_LIMIT,
  EXIT_QUALIFICATION,
} = field;

/** Interruption types, in place at bits 10:8. */
export const enum EventType {
  EXTERNAL_INTERRUPT = 0,
  NMI = 0x200,
  HARDWARE_EXCEPTION = 0x300,
  SOFTWARE_INTERRUPT = 0x400,
  PRIVILEGED_SOFTWARE_EXCEPTION = 0x500,
  SOFTWARE_EXCEPTION = 0x600,
  OTHER = 0x700,
}

const TYPE = 0x700;
const VECTOR = 0xff;
export const EVENT_ERROR_CODE = 0x800;
export const EVENT_VALID = 0x8000_0000 | 0;

const EFER_LMA = 0x400;
const IDT_FLAG = 2;
const EXTERNAL = 1;
const GATE_INTERRUPT = 14;
const GATE_TRAP = 15;
const TSS_RSP0 = 4;
/** IST1 is at 36; the index counts from 1. */
const TSS_IST = 28;
const DEBUG_STATUS = 12;
const DEBUG_CONTROL = 14;
const DR7_GD = 0x2000;
const ACTIVE = 0;

/** What an event is and what its delivery pushes. */
export interface Event {
  /** Vector, type and error-code bit, as in VM-entry interruption information. */
  readonly info: number;
  readonly errorCode: number;
  /** Length of the instruction of a software event: RIP is pushed behind it. */
  readonly length: number;
}

/** Whether the exception bitmap takes an exception to L0. */
function isIntercepted(cpu: Cpu, vector: Vector, errorCode: number): boolean {
  const { v } = cpu;
  const bit = ((v[EXCEPTION_BITMAP] >>> vector) & 1) === 1;
  if (vector !== Vector.PF) return bit;
  const matches = (errorCode & v[PAGE_FAULT_ERROR_CODE_MASK]) === (v[PAGE_FAULT_ERROR_CODE_MATCH] | 0);
  return matches ? bit : !bit;
}

/** Handles the fault that `raise` left: RIP already stands at the instruction that faulted. */
export function handleFault(cpu: Cpu): void {
  cpu.systemAccess = false;
  updateMode(cpu);
  if (cpu.faultVector === Vector.DB) {
    deliverDebugTrap(cpu);
    return;
  }
  cpu.r[Slot.SYSTEM_FLAGS] |= Flag.RF;
  deliverFault(cpu, cpu.faultVector, cpu.faultErrorCode);
  updateAttention(cpu);
}

function infoOf(vector: number, errorCode: number): number {
  return EVENT_VALID | EventType.HARDWARE_EXCEPTION | vector | (errorCode >= 0 ? EVENT_ERROR_CODE : 0);
}

function deliverFault(cpu: Cpu, vector: Vector, errorCode: number): void {
  if (isIntercepted(cpu, vector, errorCode)) {
    exitForFault(cpu, vector, errorCode);
    return;
  }
  setFaultAddress(cpu, vector);
  deliver(cpu, { info: infoOf(vector, errorCode), errorCode, length: 0 });
}

/** A page fault that does not exit leaves its address in CR2, even when a double fault is what is delivered. */
function setFaultAddress(cpu: Cpu, vector: Vector): void {
  if (vector !== Vector.PF) return;
  cpu.cr2Low = cpu.faultLow;
  cpu.cr2High = cpu.faultHigh;
}

function exitForFault(cpu: Cpu, vector: Vector, errorCode: number): void {
  exitForEvent(cpu, { reason: Exit.EXCEPTION_NMI, info: infoOf(vector, errorCode), errorCode, length: 0 });
  if (vector !== Vector.PF) return;
  cpu.v[EXIT_QUALIFICATION] = cpu.faultLow;
  cpu.v[EXIT_QUALIFICATION + 1] = cpu.faultHigh;
}

/**
 * Delivers an event through the IDT. What goes wrong on the way becomes the next event, a double fault, a triple fault
 * or a VM exit, in which case `cpu.exiting` is set.
 */
export function deliver(cpu: Cpu, first: Event): void {
  let event = first;
  for (;;) {
    cpu.deliveringInfo = event.info | EVENT_VALID;
    cpu.deliveringErrorCode = event.errorCode;
    cpu.deliveringLength = event.length;
    try {
      deliverThroughIdt(cpu, event);
      break;
    } catch (thrown) {
      if (thrown !== UNWIND) throw thrown;
      cpu.systemAccess = false;
      updateMode(cpu);
      if (cpu.exiting !== Exiting.NO) {
        cpu.exiting = Exiting.BOUNDARY;
        break;
      }
      const next = nextEvent(cpu, event);
      if (next === undefined) break;
      event = next;
    }
  }
  cpu.deliveringInfo = 0;
  cpu.deliveringLength = 0;
}

/** The event that follows a fault during delivery; `undefined`: a VM exit was taken. */
function nextEvent(cpu: Cpu, event: Event): Event | undefined {
  const vector = cpu.faultVector;
  const errorCode = cpu.faultErrorCode;
  if (isIntercepted(cpu, vector, errorCode)) {
    exitForFault(cpu, vector, errorCode);
    return undefined;
  }
  setFaultAddress(cpu, vector);
  const isException = (event.info & TYPE) === EventType.HARDWARE_EXCEPTION;
  const first = event.info & VECTOR;
  if (isException && first === Vector.DF) {
    cpu.deliveringInfo = 0;
    recordExit(cpu, Exit.TRIPLE_FAULT, 0, 0);
    cpu.exiting = Exiting.BOUNDARY;
    return undefined;
  }
  if (isException && makesDoubleFault(first, vector)) {
    if (!isIntercepted(cpu, Vector.DF, 0)) return { info: infoOf(Vector.DF, 0), errorCode: 0, length: 0 };
    // SDM volume 3, "Information for VM Exits During Event Delivery": a double fault exits directly.
    cpu.deliveringInfo = 0;
    exitForFault(cpu, Vector.DF, 0);
    return undefined;
  }
  return { info: infoOf(vector, errorCode), errorCode, length: 0 };
}

function isContributory(vector: number): boolean {
  return vector === Vector.DE || (vector >= Vector.TS && vector <= Vector.GP);
}

/** SDM volume 3, "Conditions for Generating a Double Fault". */
function makesDoubleFault(first: number, second: number): boolean {
  if (first === Vector.PF) return second === Vector.PF || isContributory(second);
  return isContributory(first) && isContributory(second);
}

const codeDescriptor = new Descriptor();

function deliverThroughIdt(cpu: Cpu, event: Event): void {
  if ((cpu.efer & EFER_LMA) === 0) raise(cpu, Vector.DF, 0);
  const { v, r } = cpu;
  const vector = event.info & VECTOR;
  const type = event.info & TYPE;
  const isSoftware = type === EventType.SOFTWARE_INTERRUPT || type === EventType.SOFTWARE_EXCEPTION;
  const external = isSoftware ? 0 : EXTERNAL;
  const gateCode = vector * 8 + IDT_FLAG;
  if (vector * 16 + 15 > v[GUEST_IDTR_LIMIT]) raiseGeneralProtection(cpu, gateCode | external);
  const gateAddress = v[GUEST_IDTR_BASE] + vector * 16;
  const gateHigh = (v[GUEST_IDTR_BASE + 1] + (gateAddress > 0xffff_ffff ? 1 : 0)) | 0;
  const gateLow = systemLoad64(cpu, gateAddress | 0, gateHigh);
  const gateMiddle = r[Slot.HIGH];
  const targetHigh = systemLoad64(cpu, (gateAddress + 8) | 0, gateHigh);
  const gateType = (gateMiddle >>> 8) & 0x1f;
  if (gateType !== GATE_INTERRUPT && gateType !== GATE_TRAP) raiseGeneralProtection(cpu, gateCode | external);
  if (isSoftware && ((gateMiddle >>> 13) & 3) < cpu.cpl) raiseGeneralProtection(cpu, gateCode | external);
  if ((gateMiddle & 0x8000) === 0) raise(cpu, Vector.NP, gateCode | external);
  const selector = gateLow >>> 16;
  const newCpl = readHandlerSegment(cpu, selector, external);
  const target = (gateLow & 0xffff) | (gateMiddle & 0xffff_0000);
  if (!isCanonical(targetHigh)) raiseGeneralProtection(cpu, external);
  switchStack(cpu, newCpl, gateMiddle & 7);
  pushFrame(cpu, event, newCpl);
  enterHandler(cpu, { selector, newCpl, target, targetHigh, masks: gateType === GATE_INTERRUPT });
}

/** Checks the code segment of a gate and leaves it in `codeDescriptor`. Returns the CPL of the handler. */
function readHandlerSegment(cpu: Cpu, selector: number, external: number): number {
  if (isNull(selector)) raiseGeneralProtection(cpu, external);
  const code = (selector & ~3) | external;
  readDescriptor(cpu, selector, codeDescriptor, { vector: Vector.GP, external });
  const { rights } = codeDescriptor;
  const isCode = (rights & (Rights.NOT_SYSTEM | Rights.CODE)) === (Rights.NOT_SYSTEM | Rights.CODE);
  if (!isCode || dplOf(rights) > cpu.cpl) raiseGeneralProtection(cpu, code);
  if ((rights & (Rights.LONG | Rights.BIG)) !== Rights.LONG) raiseGeneralProtection(cpu, code);
  if ((rights & Rights.PRESENT) === 0) raise(cpu, Vector.NP, code);
  return (rights & Rights.CONFORMING) !== 0 ? cpu.cpl : dplOf(rights);
}

/** Stack of the handler, as a pair: the frame is pushed below it before any register changes. */
const stack = new Int32Array(2);

function switchStack(cpu: Cpu, newCpl: number, ist: number): void {
  const { r } = cpu;
  let low = r[Slot.RSP];
  let high = r[Slot.RSP + 1];
  if (ist !== 0 || newCpl < cpu.cpl) {
    const offset = ist !== 0 ? TSS_IST + 8 * ist : TSS_RSP0 + 8 * newCpl;
    if (offset + 7 > limitOf(cpu, Segment.TR)) raise(cpu, Vector.TS, selectorOf(cpu, Segment.TR) & ~3);
    const base = baseWord(Segment.TR);
    const address = cpu.v[base] + offset;
    low = systemLoad64(cpu, address | 0, (cpu.v[base + 1] + (address > 0xffff_ffff ? 1 : 0)) | 0);
    high = r[Slot.HIGH];
    if (!isCanonical(high)) raise(cpu, Vector.SS, 0);
  }
  stack[0] = low & ~15;
  stack[1] = high;
}

function pushFrame(cpu: Cpu, event: Event, newCpl: number): void {
  const { r } = cpu;
  const flags = readFlags(r);
  const ripLow = (r[Slot.RIP] + event.length) | 0;
  const ripHigh = r[Slot.RIP + 1] + (ripLow >>> 0 < event.length ? 1 : 0);
  const changed = newCpl < 3 && beginSystemAccess(cpu);
  pushPair(cpu, selectorOf(cpu, Segment.SS), 0);
  pushPair(cpu, r[Slot.RSP], r[Slot.RSP + 1]);
  pushPair(cpu, flags, 0);
  pushPair(cpu, selectorOf(cpu, Segment.CS), 0);
  pushPair(cpu, ripLow, ripHigh);
  if ((event.info & EVENT_ERROR_CODE) !== 0) pushPair(cpu, event.errorCode, 0);
  if (changed) endSystemAccess(cpu);
}

function pushPair(cpu: Cpu, low: number, high: number): void {
  const top = stack[0];
  const at = (top - 8) | 0;
  const atHigh = (stack[1] - (top >>> 0 < 8 ? 1 : 0)) | 0;
  store64(cpu, at, atHigh, low, high);
  stack[0] = at;
  stack[1] = atHigh;
}

function enterHandler(
  cpu: Cpu,
  o: {
    readonly selector: number;
    readonly newCpl: number;
    readonly target: number;
    readonly targetHigh: number;
    readonly masks: boolean;
  },
): void {
  const { r } = cpu;
  markAccessed(cpu, codeDescriptor);
  if (o.newCpl !== cpu.cpl) setNullSegment(cpu, Segment.SS, o.newCpl, o.newCpl);
  setSegment(cpu, Segment.CS, (o.selector & ~3) | o.newCpl, codeDescriptor);
  r[Slot.RSP] = stack[0];
  r[Slot.RSP + 1] = stack[1];
  r[Slot.RIP] = o.target;
  r[Slot.RIP + 1] = o.targetHigh;
  const cleared = Flag.TF | Flag.NT | Flag.RF | Flag.VM | (o.masks ? Flag.IF : 0);
  writeFlags(r, readFlags(r) & ~cleared);
  cpu.shadow = Shadow.NONE;
  cpu.shadowIsNew = false;
  cpu.activity = ACTIVE;
  updateMode(cpu);
  updateAttention(cpu);
}

/** A debug trap that is due between two instructions: DR6 and #DB, or the VM exit for it. */
export function deliverDebugTrap(cpu: Cpu): void {
  const { v } = cpu;
  const causes = cpu.pendingDebug;
  cpu.pendingDebug = 0;
  if (isIntercepted(cpu, Vector.DB, 0)) {
    exitForFault(cpu, Vector.DB, -1);
    v[EXIT_QUALIFICATION] = causes;
    v[EXIT_QUALIFICATION + 1] = 0;
    return;
  }
  recordDebugCauses(cpu, causes);
  deliver(cpu, { info: infoOf(Vector.DB, -1), errorCode: -1, length: 0 });
  cpu.attention |= Attention.EVENT;
}

/** What a delivered #DB leaves in the debug registers. */
export function recordDebugCauses(cpu: Cpu, causes: number): void {
  cpu.debugRegisters[DEBUG_STATUS] = (cpu.debugRegisters[DEBUG_STATUS] & ~15) | causes;
  cpu.debugRegisters[DEBUG_CONTROL] &= ~DR7_GD;
}

/** INT3, INTO, INT1: a software exception, unless the exception bitmap takes it. RIP must stand at the instruction. */
export function softwareException(cpu: Cpu, vector: Vector, type: EventType, length: number): void {
  if (isIntercepted(cpu, vector, 0)) {
    exitForEvent(cpu, { reason: Exit.EXCEPTION_NMI, info: type | vector, errorCode: 0, length });
    return;
  }
  deliver(cpu, { info: EVENT_VALID | type | vector, errorCode: 0, length });
}
