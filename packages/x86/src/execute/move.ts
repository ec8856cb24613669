import type { Cpu } from '../cpu.ts';
import type { Executor, Instruction } from '../instruction.ts';
import {
  beginUpdate,
  endUpdate,
  load8,
  load16,
  load32,
  load64,
  store8,
  store16,
  store32,
  store64,
} from '../linear-memory.ts';
import { Slot } from '../slot.ts';
import {
  address,
  type ByWidth,
  byForm,
  byWidth,
  INDEX,
  isMemory,
  load,
  readOperand,
  readRegister,
  store,
  writeRegister,
} from './operands.ts';

export const toRegister: ByWidth = {
  1: (cpu, i) => {
    cpu.r8[i.rm] = cpu.r8[i.reg];
  },
  2: (cpu, i) => {
    cpu.r16[i.rm] = cpu.r16[i.reg];
  },
  4: (cpu, i) => {
    const { r } = cpu;
    const index = i.rm & INDEX;
    r[index] = r[i.reg & INDEX];
    r[index + 1] = 0;
  },
  8: (cpu, i) => {
    const { r } = cpu;
    const index = i.rm & INDEX;
    const source = i.reg & INDEX;
    r[index] = r[source];
    r[index + 1] = r[source + 1];
  },
};

export const toMemory: ByWidth = {
  1: (cpu, i) => {
    const low = address(cpu, i);
    store8(cpu, low, cpu.r[Slot.ADDRESS_HIGH], cpu.r8[i.reg]);
  },
  2: (cpu, i) => {
    const low = address(cpu, i);
    store16(cpu, low, cpu.r[Slot.ADDRESS_HIGH], cpu.r16[i.reg]);
  },
  4: (cpu, i) => {
    const low = address(cpu, i);
    store32(cpu, low, cpu.r[Slot.ADDRESS_HIGH], cpu.r[i.reg & INDEX]);
  },
  8: (cpu, i) => {
    const { r } = cpu;
    const low = address(cpu, i);
    const source = i.reg & INDEX;
    store64(cpu, low, r[Slot.ADDRESS_HIGH], r[source], r[source + 1]);
  },
};

export const fromRegister: ByWidth = {
  1: (cpu, i) => {
    cpu.r8[i.reg] = cpu.r8[i.rm];
  },
  2: (cpu, i) => {
    cpu.r16[i.reg] = cpu.r16[i.rm];
  },
  4: (cpu, i) => {
    const { r } = cpu;
    const index = i.reg & INDEX;
    r[index] = r[i.rm & INDEX];
    r[index + 1] = 0;
  },
  8: (cpu, i) => {
    const { r } = cpu;
    const index = i.reg & INDEX;
    const source = i.rm & INDEX;
    r[index] = r[source];
    r[index + 1] = r[source + 1];
  },
};

export const fromMemory: ByWidth = {
  1: (cpu, i) => {
    const low = address(cpu, i);
    cpu.r8[i.reg] = load8(cpu, low, cpu.r[Slot.ADDRESS_HIGH]);
  },
  2: (cpu, i) => {
    const low = address(cpu, i);
    cpu.r16[i.reg] = load16(cpu, low, cpu.r[Slot.ADDRESS_HIGH]);
  },
  4: (cpu, i) => {
    const { r } = cpu;
    const low = address(cpu, i);
    const index = i.reg & INDEX;
    r[index] = load32(cpu, low, r[Slot.ADDRESS_HIGH]);
    r[index + 1] = 0;
  },
  8: (cpu, i) => {
    const { r } = cpu;
    const low = address(cpu, i);
    const index = i.reg & INDEX;
    r[index] = load64(cpu, low, r[Slot.ADDRESS_HIGH]);
    r[index + 1] = r[Slot.HIGH];
  },
};

export const immediateToRegister: ByWidth = {
  1: (cpu, i) => {
    cpu.r8[i.rm] = i.immediateLow;
  },
  2: (cpu, i) => {
    cpu.r16[i.rm] = i.immediateLow;
  },
  4: (cpu, i) => {
    cpu.r[i.rm] = i.immediateLow;
    cpu.r[i.rm + 1] = 0;
  },
  8: (cpu, i) => {
    cpu.r[i.rm] = i.immediateLow;
    cpu.r[i.rm + 1] = i.immediateHigh;
  },
};

const immediateToMemory: Executor = (cpu, i) => {
  const low = address(cpu, i);
  store(cpu, low, cpu.r[Slot.ADDRESS_HIGH], i.width, i.immediateLow, i.immediateHigh);
};

/** Rows `mov E,G`. */
export const moveToOperand = byForm(toRegister, toMemory);
/** Rows `mov G,E`. */
export const moveToRegister = byForm(fromRegister, fromMemory);

/** Rows `mov E,I` and `mov Z,I`. */
export function moveImmediate(i: Instruction): Executor {
  return isMemory(i) ? immediateToMemory : byWidth(immediateToRegister)(i);
}

/** Row `lea Gv,M`: the address without segment base, cut to the operand width. */
export const leaRegister: Executor = (cpu, i) => {
  const { r } = cpu;
  const low = address(cpu, i);
  if (i.width === 8) {
    r[i.reg] = low;
    r[i.reg + 1] = r[Slot.ADDRESS_HIGH];
  } else if (i.width === 4) {
    r[i.reg] = low;
    r[i.reg + 1] = 0;
  } else cpu.r16[i.reg] = low;
};

/** Rows `movzx Gv,Eb` and `movzx Gv,Ew`; `operation` is the width of the source. */
export const moveZeroExtended: Executor = (cpu, i) => {
  writeRegister(cpu, i.reg, i.width, readOperand(cpu, i, i.operation), 0);
};

/** Rows `movsx Gv,Eb`, `movsx Gv,Ew` and `movsxd Gv,Ed`; `operation` is the width of the source. */
export const moveSignExtended: Executor = (cpu, i) => {
  const shift = 32 - 8 * i.operation;
  const value = (readOperand(cpu, i, i.operation) << shift) >> shift;
  writeRegister(cpu, i.reg, i.width, value, value >> 31);
};

/** Rows `xchg E,G` and `xchg Z,rAX`. */
export const exchange: Executor = (cpu, i) => {
  const { r } = cpu;
  const source = readRegister(cpu, i.reg, i.width);
  const sourceHigh = r[Slot.HIGH];
  if (isMemory(i)) {
    const low = address(cpu, i);
    const value = beginUpdate(cpu, low, r[Slot.ADDRESS_HIGH], i.width);
    const valueHigh = r[Slot.HIGH];
    endUpdate(cpu, i.width, source, sourceHigh);
    writeRegister(cpu, i.reg, i.width, value, valueHigh);
    return;
  }
  const value = readRegister(cpu, i.rm, i.width);
  writeRegister(cpu, i.reg, i.width, value, r[Slot.HIGH]);
  writeRegister(cpu, i.rm, i.width, source, sourceHigh);
};

/** CBW, CWDE, CDQE. */
export const widenAccumulator: Executor = (cpu, i) => {
  const { r } = cpu;
  if (i.width === 8) r[Slot.RAX + 1] = r[Slot.RAX] >> 31;
  else if (i.width === 4) writeRegister(cpu, Slot.RAX, 4, (r[Slot.RAX] << 16) >> 16, 0);
  else cpu.r16[0] = (r[Slot.RAX] << 24) >> 24;
};

/** CWD, CDQ, CQO. */
export const spreadSign: Executor = (cpu, i) => {
  const { r } = cpu;
  if (i.width === 8) writeRegister(cpu, Slot.RDX, 8, r[Slot.RAX + 1] >> 31, r[Slot.RAX + 1] >> 31);
  else if (i.width === 4) writeRegister(cpu, Slot.RDX, 4, r[Slot.RAX] >> 31, 0);
  else cpu.r16[Slot.RDX * 2] = (r[Slot.RAX] << 16) >> 31;
};

/** XLAT. */
export const translateByte: Executor = (cpu, i) => {
  cpu.r8[0] = load(cpu, tableAddress(cpu, i), cpu.r[Slot.ADDRESS_HIGH], 1);
};

/** The address is RBX + AL: AL takes the place of the displacement. */
function tableAddress(cpu: Cpu, i: Instruction): number {
  i.base = Slot.RBX;
  i.displacementLow = cpu.r8[0];
  return address(cpu, i);
}

/** MOVNTI: a plain store, the memory model has no weaker one. */
export const moveNonTemporal: Executor = (cpu, i) => toMemory[i.width as 4 | 8](cpu, i);
