import { field } from '@nvmx/vmx-fields';
import { apicRead, apicWrite } from './apic-access.ts';
import type { Cpu } from './cpu.ts';
import { isCanonical, raise, raiseNonCanonical, Vector } from './faults.ts';
import { Flag } from './flags.ts';
import { NO_DIRECT_ADDRESS, Slot } from './slot.ts';
import { DATA_MASK, DATA_SHIFT, PAGE_MASK, Privilege, WRITE_WATCHED } from './tlb.ts';
import { Access, Place } from './translation.ts';

const { GUEST_CR0 } = field;
const PAGE_OFFSET = 0xfff;
const PAGE_BYTES = 0x1000;
const CR0_AM = 0x4_0000;
const ALL_ONES = 0xff;

/**
 * Accesses of the guest by linear address. The fast paths are a TLB tag comparison that also fails for an address that
 * is not aligned; everything else goes the slow way: TLB misses, page crossings, watched frames, the APIC-access page.
 * A 64-bit load returns the low word and leaves the high one in `Slot.HIGH`.
 */
export function load8(cpu: Cpu, low: number, high: number): number {
  const t = cpu.tlb;
  const e = (low >>> DATA_SHIFT) & DATA_MASK;
  if (t[e] === (low & PAGE_MASK) && t[e + 2] === high) return cpu.u8[(t[e + 3] + (low & PAGE_OFFSET)) >>> 0];
  return loadSlow(cpu, low, high, 1);
}

export function load16(cpu: Cpu, low: number, high: number): number {
  const t = cpu.tlb;
  const e = (low >>> DATA_SHIFT) & DATA_MASK;
  if (t[e] === (low & (PAGE_MASK | 1)) && t[e + 2] === high) return cpu.u16[(t[e + 3] + (low & PAGE_OFFSET)) >>> 1];
  return loadSlow(cpu, low, high, 2);
}

export function load32(cpu: Cpu, low: number, high: number): number {
  const t = cpu.tlb;
  const e = (low >>> DATA_SHIFT) & DATA_MASK;
  if (t[e] === (low & (PAGE_MASK | 3)) && t[e + 2] === high) return cpu.i32[(t[e + 3] + (low & PAGE_OFFSET)) >>> 2];
  return loadSlow(cpu, low, high, 4);
}

export function load64(cpu: Cpu, low: number, high: number): number {
  const t = cpu.tlb;
  const e = (low >>> DATA_SHIFT) & DATA_MASK;
  if (t[e] === (low & (PAGE_MASK | 7)) && t[e + 2] === high) {
    const word = (t[e + 3] + (low & PAGE_OFFSET)) >>> 2;
    cpu.r[Slot.HIGH] = cpu.i32[word + 1];
    return cpu.i32[word];
  }
  return loadSlow(cpu, low, high, 8);
}

export function store8(cpu: Cpu, low: number, high: number, value: number): void {
  const t = cpu.tlb;
  const e = (low >>> DATA_SHIFT) & DATA_MASK;
  if (t[e + 1] === (low & PAGE_MASK) && t[e + 2] === high) cpu.u8[(t[e + 3] + (low & PAGE_OFFSET)) >>> 0] = value;
  else storeSlow(cpu, low, high, 1, value, 0);
}

export function store16(cpu: Cpu, low: number, high: number, value: number): void {
  const t = cpu.tlb;
  const e = (low >>> DATA_SHIFT) & DATA_MASK;
  if (t[e + 1] === (low & (PAGE_MASK | 1)) && t[e + 2] === high) {
    cpu.u16[(t[e + 3] + (low & PAGE_OFFSET)) >>> 1] = value;
  } else storeSlow(cpu, low, high, 2, value, 0);
}

export function store32(cpu: Cpu, low: number, high: number, value: number): void {
  const t = cpu.tlb;
  const e = (low >>> DATA_SHIFT) & DATA_MASK;
  if (t[e + 1] === (low & (PAGE_MASK | 3)) && t[e + 2] === high) {
    cpu.i32[(t[e + 3] + (low & PAGE_OFFSET)) >>> 2] = value;
  } else storeSlow(cpu, low, high, 4, value, 0);
}

export function store64(cpu: Cpu, low: number, high: number, valueLow: number, valueHigh: number): void {
  const t = cpu.tlb;
  const e = (low >>> DATA_SHIFT) & DATA_MASK;
  if (t[e + 1] === (low & (PAGE_MASK | 7)) && t[e + 2] === high) {
    const word = (t[e + 3] + (low & PAGE_OFFSET)) >>> 2;
    cpu.i32[word] = valueLow;
    cpu.i32[word + 1] = valueHigh;
  } else storeSlow(cpu, low, high, 8, valueLow, valueHigh);
}

/**
 * First half of a read-modify-write: loads, having made sure that the store cannot fault. `endUpdate` stores.
 * Between the two nothing else may access memory.
 */
export function beginUpdate(cpu: Cpu, low: number, high: number, bytes: number): number {
  const t = cpu.tlb;
  const e = (low >>> DATA_SHIFT) & DATA_MASK;
  if (t[e + 1] === (low & (PAGE_MASK | (bytes - 1))) && t[e + 2] === high) {
    const address = t[e + 3] + (low & PAGE_OFFSET);
    cpu.r[Slot.UPDATE] = address;
    switch (bytes) {
      case 1:
        return cpu.u8[address >>> 0];
      case 2:
        return cpu.u16[address >>> 1];
      case 4:
        return cpu.i32[address >>> 2];
      default:
        cpu.r[Slot.HIGH] = cpu.i32[(address >>> 2) + 1];
        return cpu.i32[address >>> 2];
    }
  }
  return beginUpdateSlow(cpu, low, high, bytes);
}

export function endUpdate(cpu: Cpu, bytes: number, valueLow: number, valueHigh: number): void {
  const address = cpu.r[Slot.UPDATE];
  if (address === NO_DIRECT_ADDRESS) {
    storeSlow(cpu, cpu.r[Slot.UPDATE_LOW], cpu.r[Slot.UPDATE_HIGH], bytes, valueLow, valueHigh);
    return;
  }
  switch (bytes) {
    case 1:
      cpu.u8[address >>> 0] = valueLow;
      return;
    case 2:
      cpu.u16[address >>> 1] = valueLow;
      return;
    case 4:
      cpu.i32[address >>> 2] = valueLow;
      return;
    default:
      cpu.i32[address >>> 2] = valueLow;
      cpu.i32[(address >>> 2) + 1] = valueHigh;
  }
}

/** Makes sure that a later store of `bytes` at this address cannot fault. */
export function probeWrite(cpu: Cpu, low: number, high: number, bytes: number): void {
  checkAddress(cpu, low, high, bytes);
  place(cpu, low, high, Access.WRITE);
  if (crosses(low, bytes)) place(cpu, nextPage(low), nextPageHigh(low, high), Access.WRITE);
}

function beginUpdateSlow(cpu: Cpu, low: number, high: number, bytes: number): number {
  const { r } = cpu;
  checkAddress(cpu, low, high, bytes);
  r[Slot.UPDATE] = NO_DIRECT_ADDRESS;
  r[Slot.UPDATE_LOW] = low;
  r[Slot.UPDATE_HIGH] = high;
  const at = place(cpu, low, high, Access.UPDATE);
  if (crosses(low, bytes)) {
    place(cpu, nextPage(low), nextPageHigh(low, high), Access.UPDATE);
    return loadBytewise(cpu, low, high, bytes);
  }
  return at === Place.APIC ? apicRead(cpu, low & PAGE_OFFSET, bytes, true) : loadFrom(cpu, at, low, bytes);
}

function loadSlow(cpu: Cpu, low: number, high: number, bytes: number): number {
  checkAddress(cpu, low, high, bytes);
  if (crosses(low, bytes)) return loadBytewise(cpu, low, high, bytes);
  return loadFrom(cpu, place(cpu, low, high, Access.READ), low, bytes);
}

function storeSlow(cpu: Cpu, low: number, high: number, bytes: number, valueLow: number, valueHigh: number): void {
  checkAddress(cpu, low, high, bytes);
  if (crosses(low, bytes)) {
    storeBytewise(cpu, low, high, bytes, valueLow, valueHigh);
    return;
  }
  const at = place(cpu, low, high, Access.WRITE);
  if (at === Place.APIC) apicWrite(cpu, { offset: low & PAGE_OFFSET, bytes, low: valueLow });
  else if (at === Place.MEMORY) writeHost(cpu, cpu.hostAddress, bytes, valueLow, valueHigh);
}

/** Host-physical address of a data access by the TLB or a walk, in `cpu.hostAddress`. */
function place(cpu: Cpu, low: number, high: number, access: Access): Place {
  const t = cpu.tlb;
  const e = (low >>> DATA_SHIFT) & DATA_MASK;
  const tag = (access & Access.WRITE) !== 0 ? t[e + 1] & ~WRITE_WATCHED : t[e];
  if (tag === (low & PAGE_MASK) && t[e + 2] === high) {
    cpu.hostAddress = (t[e + 3] + (low & PAGE_OFFSET)) >>> 0;
    return Place.MEMORY;
  }
  return cpu.translator.data(low, high, access);
}

function checkAddress(cpu: Cpu, low: number, high: number, bytes: number): void {
  if (cpu.mode === 64 && !isCanonical(high)) raiseNonCanonical(cpu, low, high);
  if ((low & (bytes - 1)) !== 0 && cpu.privilege === Privilege.USER) checkAlignment(cpu);
}

function checkAlignment(cpu: Cpu): void {
  if ((cpu.v[GUEST_CR0] & CR0_AM) !== 0 && (cpu.r[Slot.SYSTEM_FLAGS] & Flag.AC) !== 0) raise(cpu, Vector.AC, 0);
}

function crosses(low: number, bytes: number): boolean {
  return (low & PAGE_OFFSET) + bytes > PAGE_BYTES;
}

function nextPage(low: number): number {
  return ((low & PAGE_MASK) + PAGE_BYTES) | 0;
}

function nextPageHigh(low: number, high: number): number {
  return nextPage(low) === 0 ? (high + 1) | 0 : high;
}

function loadFrom(cpu: Cpu, at: Place, low: number, bytes: number): number {
  if (at === Place.MEMORY) return readHost(cpu, cpu.hostAddress, bytes);
  if (at === Place.APIC) return apicRead(cpu, low & PAGE_OFFSET, bytes);
  cpu.r[Slot.HIGH] = -1;
  return bytes >= 4 ? -1 : ALL_ONES | ((bytes - 1) * 0xff00);
}

function loadBytewise(cpu: Cpu, low: number, high: number, bytes: number): number {
  const first = PAGE_BYTES - (low & PAGE_OFFSET);
  const nextHigh = nextPageHigh(low, high);
  if (cpu.mode === 64 && !isCanonical(nextHigh)) raiseNonCanonical(cpu, low, high);
  let value = 0;
  let valueHigh = 0;
  for (let n = 0; n < bytes; n++) {
    const byte = load8(cpu, (low + n) | 0, n < first ? high : nextHigh);
    if (n < 4) value |= byte << (8 * n);
    else valueHigh |= byte << (8 * (n - 4));
  }
  cpu.r[Slot.HIGH] = valueHigh;
  return value;
}

function storeBytewise(cpu: Cpu, low: number, high: number, bytes: number, valueLow: number, valueHigh: number): void {
  const first = PAGE_BYTES - (low & PAGE_OFFSET);
  const nextHigh = nextPageHigh(low, high);
  if (cpu.mode === 64 && !isCanonical(nextHigh)) raiseNonCanonical(cpu, low, high);
  place(cpu, low, high, Access.WRITE);
  place(cpu, nextPage(low), nextHigh, Access.WRITE);
  for (let n = 0; n < bytes; n++) {
    const byte = n < 4 ? valueLow >>> (8 * n) : valueHigh >>> (8 * (n - 4));
    store8(cpu, (low + n) | 0, n < first ? high : nextHigh, byte & 0xff);
  }
}

/** Reads 1, 2, 4 or 8 bytes of one page at any alignment. */
export function readHost(cpu: Cpu, address: number, bytes: number): number {
  const { u8 } = cpu;
  if (bytes === 1) return u8[address];
  if (bytes === 2) return u8[address] | (u8[address + 1] << 8);
  if (bytes === 8) cpu.r[Slot.HIGH] = readWord(u8, address + 4);
  return readWord(u8, address);
}

function readWord(u8: Uint8Array, address: number): number {
  return u8[address] | (u8[address + 1] << 8) | (u8[address + 2] << 16) | (u8[address + 3] << 24);
}

function writeWord(u8: Uint8Array, address: number, value: number): void {
  u8[address] = value;
  u8[address + 1] = value >> 8;
  u8[address + 2] = value >> 16;
  u8[address + 3] = value >> 24;
}

/** Writes 1, 2, 4 or 8 bytes of one page at any alignment, and drops decoded code that they change. */
export function writeHost(cpu: Cpu, address: number, bytes: number, valueLow: number, valueHigh: number): void {
  const { u8 } = cpu;
  if (bytes >= 4) writeWord(u8, address, valueLow);
  else {
    u8[address] = valueLow;
    if (bytes === 2) u8[address + 1] = valueLow >> 8;
  }
  if (bytes === 8) writeWord(u8, address + 4, valueHigh);
  if (cpu.code.watched[Math.floor(address / PAGE_BYTES)] === 1) cpu.code.written(address, bytes);
}
