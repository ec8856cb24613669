import { field } from '@nvmx/vmx-fields';
import type { Cpu } from '../cpu.ts';
import { isCanonical, raiseGeneralProtection, raiseUndefinedOpcode } from '../faults.ts';
import { Flag, readFlags, writeFlags } from '../flags.ts';
import type { Executor } from '../instruction.ts';
import { updateAttention, updateMode } from '../mode.ts';
import { Segment } from '../segments.ts';
import { Slot } from '../slot.ts';
import { nextRip } from './control-flow.ts';
import { requireCpl0 } from './interrupts.ts';
import { Msr } from './msr.ts';

const {
  GUEST_ES_SELECTOR,
  GUEST_ES_BASE,
  GUEST_ES_LIMIT,
  GUEST_ES_AR_BYTES,
  GUEST_SYSENTER_CS,
  GUEST_SYSENTER_EIP,
  GUEST_SYSENTER_ESP,
} = field;

const EFER_SCE = 1;
const EFER_LMA = 0x400;
const CODE_64 = 0xa09b;
const CODE_32 = 0xc09b;
const DATA = 0xc093;
const DPL_3 = 0x60;
const RETURN_FLAGS = 0x3c_7fd7;
const RPL = 3;

/** A flat segment with fixed rights: these instructions read no descriptor. */
function setFlat(cpu: Cpu, segment: Segment, selector: number, rights: number): void {
  const { v } = cpu;
  const at = 2 * segment;
  v[GUEST_ES_SELECTOR + at] = selector;
  v[GUEST_ES_BASE + at] = 0;
  v[GUEST_ES_BASE + at + 1] = 0;
  v[GUEST_ES_LIMIT + at] = 0xffff_ffff;
  v[GUEST_ES_AR_BYTES + at] = rights;
}

/** SYSCALL. */
export const systemCall: Executor = (cpu, i) => {
  if (cpu.mode !== 64 || (cpu.efer & EFER_SCE) === 0) raiseUndefinedOpcode(cpu);
  const { r, msrs } = cpu;
  const low = nextRip(cpu, i);
  r[Slot.RCX] = low;
  r[Slot.RCX + 1] = r[Slot.HIGH];
  const flags = readFlags(r) & ~Flag.RF;
  r[Slot.R11] = flags;
  r[Slot.R11 + 1] = 0;
  r[Slot.RIP] = msrs.low(Msr.LSTAR);
  r[Slot.RIP + 1] = msrs.high(Msr.LSTAR);
  const selector = msrs.high(Msr.STAR) & 0xfffc;
  setFlat(cpu, Segment.CS, selector, CODE_64);
  setFlat(cpu, Segment.SS, selector + 8, DATA);
  writeFlags(r, flags & ~msrs.low(Msr.FMASK));
  updateMode(cpu);
  updateAttention(cpu);
};

/** SYSRET: to 64-bit mode with REX.W, else to compatibility mode. */
export const systemReturn: Executor = (cpu, i) => {
  if (cpu.mode !== 64 || (cpu.efer & EFER_SCE) === 0) raiseUndefinedOpcode(cpu);
  requireCpl0(cpu);
  const { r, msrs } = cpu;
  const toLong = i.width === 8;
  if (toLong && !isCanonical(r[Slot.RCX + 1])) raiseGeneralProtection(cpu);
  const base = msrs.high(Msr.STAR) >>> 16;
  r[Slot.RIP] = r[Slot.RCX];
  r[Slot.RIP + 1] = toLong ? r[Slot.RCX + 1] : 0;
  setFlat(cpu, Segment.CS, (base + (toLong ? 16 : 0)) | RPL, (toLong ? CODE_64 : CODE_32) | DPL_3);
  setFlat(cpu, Segment.SS, (base + 8) | RPL, DATA | DPL_3);
  writeFlags(r, (r[Slot.R11] & RETURN_FLAGS) | Flag.FIXED);
  updateMode(cpu);
  updateAttention(cpu);
};

/** SYSENTER. */
export const systemEnter: Executor = (cpu) => {
  const { v, r } = cpu;
  const selector = v[GUEST_SYSENTER_CS] & 0xfffc;
  if (selector === 0) raiseGeneralProtection(cpu);
  const isLong = (cpu.efer & EFER_LMA) !== 0;
  writeFlags(r, readFlags(r) & ~(Flag.VM | Flag.IF | Flag.RF));
  r[Slot.RSP] = v[GUEST_SYSENTER_ESP];
  r[Slot.RSP + 1] = isLong ? v[GUEST_SYSENTER_ESP + 1] : 0;
  r[Slot.RIP] = v[GUEST_SYSENTER_EIP];
  r[Slot.RIP + 1] = isLong ? v[GUEST_SYSENTER_EIP + 1] : 0;
  setFlat(cpu, Segment.CS, selector, isLong ? CODE_64 : CODE_32);
  setFlat(cpu, Segment.SS, selector + 8, DATA);
  updateMode(cpu);
  updateAttention(cpu);
};

/** SYSEXIT: to 64-bit mode with REX.W. */
export const systemExit: Executor = (cpu, i) => {
  requireCpl0(cpu);
  const { v, r } = cpu;
  const base = v[GUEST_SYSENTER_CS] & 0xfffc;
  if (base === 0) raiseGeneralProtection(cpu);
  const toLong = i.width === 8;
  if (toLong && (!isCanonical(r[Slot.RCX + 1]) || !isCanonical(r[Slot.RDX + 1]))) raiseGeneralProtection(cpu);
  r[Slot.RIP] = r[Slot.RDX];
  r[Slot.RIP + 1] = toLong ? r[Slot.RDX + 1] : 0;
  r[Slot.RSP] = r[Slot.RCX];
  r[Slot.RSP + 1] = toLong ? r[Slot.RCX + 1] : 0;
  setFlat(cpu, Segment.CS, (base + (toLong ? 32 : 16)) | RPL, (toLong ? CODE_64 : CODE_32) | DPL_3);
  setFlat(cpu, Segment.SS, (base + (toLong ? 40 : 24)) | RPL, DATA | DPL_3);
  updateMode(cpu);
};
