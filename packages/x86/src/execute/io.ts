import { field } from '@nvmx/vmx-fields';
import type { Cpu } from '../cpu.ts';
import { raiseGeneralProtection } from '../faults.ts';
import { Attribute, type Executor, type Instruction } from '../instruction.ts';
import { load16, probeWrite } from '../linear-memory.ts';
import { entryAddress } from '../paging.ts';
import { baseWord, beginSystemAccess, endSystemAccess, limitOf, Rights, rightsOf, Segment } from '../segments.ts';
import { Slot } from '../slot.ts';
import { Exit, exitInstruction, exitWithInformation, setLinearAddress } from '../vm-exit.ts';
import { decrementCounter, fallThrough, isCounterZero, stayHere } from './control-flow.ts';
import { load, store, writeRegister } from './operands.ts';
import { destinationAddress, movePointer, sourceAddress, stride } from './string.ts';

const { IO_BITMAP_A, IO_BITMAP_B, GUEST_CR0 } = field;

const UNCONDITIONAL_EXITING = 0x100_0000;
const USE_BITMAPS = 0x200_0000;
const CR0_PE = 1;
const DX = 8;
const PORTS = 0x1_0000;
const TSS_IO_MAP_BASE = 0x66;
const ACCESS_IN = 8;
const ACCESS_STRING = 0x10;
const ACCESS_REP = 0x20;
const ACCESS_IMMEDIATE = 0x40;

/** `operation` of the rows of IN and OUT. */
export const enum PortOperand {
  IMMEDIATE = 0,
  DX = 1,
}

function portOf(cpu: Cpu, i: Instruction): number {
  return i.operation === PortOperand.IMMEDIATE ? i.immediateLow & 0xff : cpu.r16[DX];
}

/** Faults unless CPL and IOPL, or the I/O permission bitmap of the TSS, allow the access. */
function requirePortAccess(cpu: Cpu, port: number, bytes: number): void {
  if ((cpu.v[GUEST_CR0] & CR0_PE) === 0) return;
  if (cpu.cpl <= ((cpu.r[Slot.SYSTEM_FLAGS] >>> 12) & 3)) return;
  const limit = limitOf(cpu, Segment.TR);
  if ((rightsOf(cpu, Segment.TR) & Rights.UNUSABLE) !== 0 || limit < TSS_IO_MAP_BASE + 1) raiseGeneralProtection(cpu);
  const map = readTss16(cpu, TSS_IO_MAP_BASE);
  const at = map + (port >>> 3);
  if (at + 1 > limit) raiseGeneralProtection(cpu);
  const bits = readTss16(cpu, at) >>> (port & 7);
  if ((bits & ((1 << bytes) - 1)) !== 0) raiseGeneralProtection(cpu);
}

function readTss16(cpu: Cpu, offset: number): number {
  const base = baseWord(Segment.TR);
  const sum = cpu.v[base] + offset;
  const changed = beginSystemAccess(cpu);
  const value = load16(cpu, sum | 0, (cpu.v[base + 1] + (sum > 0xffff_ffff ? 1 : 0)) | 0);
  if (changed) endSystemAccess(cpu);
  return value;
}

/** Whether the I/O controls take an access to L0. A range that wraps around 0xffff exits under the bitmaps. */
function isIntercepted(cpu: Cpu, port: number, bytes: number): boolean {
  if ((cpu.procControls & USE_BITMAPS) === 0) return (cpu.procControls & UNCONDITIONAL_EXITING) !== 0;
  if (port + bytes > PORTS) return true;
  for (let n = 0; n < bytes; n++) if (isBitSet(cpu, port + n)) return true;
  return false;
}

function isBitSet(cpu: Cpu, port: number): boolean {
  const word = port < 0x8000 ? IO_BITMAP_A : IO_BITMAP_B;
  const address = entryAddress(cpu.v[word], cpu.v[word + 1]) + ((port & 0x7fff) >>> 3);
  cpu.observer?.vmcsAddressUse(word, address, true);
  return address >= cpu.memoryBytes || ((cpu.u8[address] >>> (port & 7)) & 1) === 1;
}

function qualification(i: Instruction, port: number, flags: number): number {
  return (i.width - 1) | flags | (port << 16);
}

/** IN: where no control takes it away there is no device on this processor's bus, and ones are read. */
export const input: Executor = (cpu, i) => {
  const port = portOf(cpu, i);
  requirePortAccess(cpu, port, i.width);
  if (isIntercepted(cpu, port, i.width)) {
    const immediate = i.operation === PortOperand.IMMEDIATE ? ACCESS_IMMEDIATE : 0;
    exitInstruction(cpu, i, Exit.IO_INSTRUCTION, qualification(i, port, ACCESS_IN | immediate));
    return;
  }
  writeRegister(cpu, Slot.RAX, i.width, -1, 0);
};

export const output: Executor = (cpu, i) => {
  const port = portOf(cpu, i);
  requirePortAccess(cpu, port, i.width);
  if (!isIntercepted(cpu, port, i.width)) return;
  const immediate = i.operation === PortOperand.IMMEDIATE ? ACCESS_IMMEDIATE : 0;
  exitInstruction(cpu, i, Exit.IO_INSTRUCTION, qualification(i, port, immediate));
};

function addressSizeCode(i: Instruction): number {
  return i.addressWidth === 8 ? 2 : i.addressWidth === 4 ? 1 : 0;
}

function stringExit(cpu: Cpu, i: Instruction, port: number, isInput: boolean): void {
  const repeated = (i.attributes & (Attribute.REP | Attribute.REPNE)) !== 0;
  const low = isInput ? destinationAddress(cpu, i) : sourceAddress(cpu, i);
  setLinearAddress(cpu, low, cpu.r[Slot.ADDRESS_HIGH]);
  const flags = (isInput ? ACCESS_IN : 0) | ACCESS_STRING | (repeated ? ACCESS_REP : 0);
  const segment = isInput ? Segment.ES : i.segmentNumber;
  exitWithInformation(cpu, i, {
    reason: Exit.IO_INSTRUCTION,
    information: (addressSizeCode(i) << 7) | (segment << 15),
    low: qualification(i, port, flags),
  });
}

function stringInstruction(cpu: Cpu, i: Instruction, isInput: boolean): void {
  const repeated = (i.attributes & (Attribute.REP | Attribute.REPNE)) !== 0;
  if (repeated && isCounterZero(cpu, i.addressWidth)) {
    fallThrough(cpu, i);
    return;
  }
  const port = cpu.r16[DX];
  requirePortAccess(cpu, port, i.width);
  if (isIntercepted(cpu, port, i.width)) {
    stringExit(cpu, i, port, isInput);
    return;
  }
  transferElement(cpu, i, isInput);
  if (!repeated) fallThrough(cpu, i);
  else {
    decrementCounter(cpu, i.addressWidth);
    if (isCounterZero(cpu, i.addressWidth)) fallThrough(cpu, i);
    else stayHere(cpu, i);
  }
}

function transferElement(cpu: Cpu, i: Instruction, isInput: boolean): void {
  const { r } = cpu;
  if (isInput) {
    const low = destinationAddress(cpu, i);
    probeWrite(cpu, low, r[Slot.ADDRESS_HIGH], i.width);
    store(cpu, low, r[Slot.ADDRESS_HIGH], i.width, -1, -1);
  } else {
    const low = sourceAddress(cpu, i);
    load(cpu, low, r[Slot.ADDRESS_HIGH], i.width);
  }
  movePointer(cpu, isInput ? Slot.RDI : Slot.RSI, i.addressWidth, stride(cpu, i));
}

export const inputString: Executor = (cpu, i) => stringInstruction(cpu, i, true);
export const outputString: Executor = (cpu, i) => stringInstruction(cpu, i, false);
