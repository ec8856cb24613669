import type { Cpu } from './cpu.ts';
import { Attribute, type Instruction } from './instruction.ts';
import { Slot } from './slot.ts';

/**
 * VM-exit instruction information and the displacement that goes with it.
 * Source: SDM volume 3, "Information for VM Exits Due to Instruction Execution".
 */
const ADDRESS_SIZE_SHIFT = 7;
const REGISTER_OPERAND = 1 << 10;
const REGISTER_1_SHIFT = 3;
const SEGMENT_SHIFT = 15;
const INDEX_SHIFT = 18;
const INDEX_INVALID = 1 << 22;
const BASE_SHIFT = 23;
const BASE_INVALID = 1 << 27;
const LAST_GENERAL_SLOT = 30;

/** The address of the operand: scaling, address size, segment, index and base; or the register that stands for it. */
export function operandInformation(i: Instruction): number {
  if ((i.attributes & Attribute.MEMORY) === 0) {
    return REGISTER_OPERAND | (((i.modrm & 7) | ((i.rex & 1) << 3)) << REGISTER_1_SHIFT);
  }
  const size = i.addressWidth === 8 ? 2 : i.addressWidth === 4 ? 1 : 0;
  const hasIndex = i.index >= 0;
  const hasBase = i.base <= LAST_GENERAL_SLOT;
  return (
    i.scale |
    (size << ADDRESS_SIZE_SHIFT) |
    (i.segmentNumber << SEGMENT_SHIFT) |
    (hasIndex ? (i.index >> 1) << INDEX_SHIFT : INDEX_INVALID) |
    (hasBase ? (i.base >> 1) << BASE_SHIFT : BASE_INVALID)
  );
}

/** Number of the register in ModRM.reg, with REX.R. */
export function registerNumber(i: Instruction): number {
  return ((i.modrm >> 3) & 7) | ((i.rex & 4) << 1);
}

/** Number of the register in ModRM.rm, with REX.B. */
export function operandRegisterNumber(i: Instruction): number {
  return (i.modrm & 7) | ((i.rex & 1) << 3);
}

/** Displacement of the operand, sign-extended: returns the low word, leaves the high one in `Slot.HIGH`. Relative to RIP it is the address. */
export function displacement(cpu: Cpu, i: Instruction): number {
  const { r } = cpu;
  if ((i.attributes & Attribute.MEMORY) === 0) {
    r[Slot.HIGH] = 0;
    return 0;
  }
  if (i.base !== Slot.PAGE) {
    r[Slot.HIGH] = i.displacementHigh;
    return i.displacementLow;
  }
  const page = r[Slot.PAGE];
  const low = (page + i.displacementLow) | 0;
  const carry = ((page & i.displacementLow) | ((page | i.displacementLow) & ~low)) >>> 31;
  r[Slot.HIGH] = r[Slot.PAGE + 1] + i.displacementHigh + carry;
  return low;
}
