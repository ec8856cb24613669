import type { Executor, Instruction } from '../instruction.ts';
import { Slot } from '../slot.ts';
import { Alu } from './alu-operation.ts';
import { INDEX } from './operands.ts';

/*
 * The commonest two-operand forms, one straight function each: on 32-bit and 64-bit registers, with a register or an
 * immediate. A switch over operations costs twice the work itself.
 */

function logicFlags32(r: Int32Array, result: number): void {
  r[Slot.CARRIES] = 0;
  r[Slot.ZERO_TEST] = result;
  r[Slot.SIGN] = result;
  r[Slot.PARITY] = result;
  r[Slot.ADJUST] = 0;
}

function logicFlags64(r: Int32Array, low: number, high: number): void {
  r[Slot.CARRIES] = 0;
  r[Slot.ZERO_TEST] = low | high;
  r[Slot.SIGN] = high;
  r[Slot.PARITY] = low;
  r[Slot.ADJUST] = 0;
}

export const addRegister32: Executor = (cpu, i) => {
  const { r } = cpu;
  const index = i.rm & INDEX;
  const a = r[index];
  const b = r[i.reg & INDEX];
  const s = (a + b) | 0;
  r[Slot.CARRIES] = (a & b) | ((a | b) & ~s);
  r[Slot.ZERO_TEST] = s;
  r[Slot.SIGN] = s;
  r[Slot.PARITY] = s;
  r[Slot.ADJUST] = a ^ b ^ s;
  r[index] = s;
  r[index + 1] = 0;
};

export const addRegister64: Executor = (cpu, i) => {
  const { r } = cpu;
  const index = i.rm & INDEX;
  const source = i.reg & INDEX;
  const a = r[index];
  const aHigh = r[index + 1];
  const b = r[source];
  const bHigh = r[source + 1];
  const s = (a + b) | 0;
  const sHigh = (aHigh + bHigh + (((a & b) | ((a | b) & ~s)) >>> 31)) | 0;
  r[Slot.CARRIES] = (aHigh & bHigh) | ((aHigh | bHigh) & ~sHigh);
  r[Slot.ZERO_TEST] = s | sHigh;
  r[Slot.SIGN] = sHigh;
  r[Slot.PARITY] = s;
  r[Slot.ADJUST] = a ^ b ^ s;
  r[index] = s;
  r[index + 1] = sHigh;
};

export const subRegister32: Executor = (cpu, i) => {
  const { r } = cpu;
  const index = i.rm & INDEX;
  const a = r[index];
  const b = r[i.reg & INDEX];
  const s = (a - b) | 0;
  r[Slot.CARRIES] = (~a & b) | ((~a | b) & s);
  r[Slot.ZERO_TEST] = s;
  r[Slot.SIGN] = s;
  r[Slot.PARITY] = s;
  r[Slot.ADJUST] = a ^ b ^ s;
  r[index] = s;
  r[index + 1] = 0;
};

export const subRegister64: Executor = (cpu, i) => {
  const { r } = cpu;
  const index = i.rm & INDEX;
  const source = i.reg & INDEX;
  const a = r[index];
  const aHigh = r[index + 1];
  const b = r[source];
  const bHigh = r[source + 1];
  const s = (a - b) | 0;
  const sHigh = (aHigh - bHigh - (((~a & b) | ((~a | b) & s)) >>> 31)) | 0;
  r[Slot.CARRIES] = (~aHigh & bHigh) | ((~aHigh | bHigh) & sHigh);
  r[Slot.ZERO_TEST] = s | sHigh;
  r[Slot.SIGN] = sHigh;
  r[Slot.PARITY] = s;
  r[Slot.ADJUST] = a ^ b ^ s;
  r[index] = s;
  r[index + 1] = sHigh;
};

export const cmpRegister32: Executor = (cpu, i) => {
  const { r } = cpu;
  const index = i.rm & INDEX;
  const a = r[index];
  const b = r[i.reg & INDEX];
  const s = (a - b) | 0;
  r[Slot.CARRIES] = (~a & b) | ((~a | b) & s);
  r[Slot.ZERO_TEST] = s;
  r[Slot.SIGN] = s;
  r[Slot.PARITY] = s;
  r[Slot.ADJUST] = a ^ b ^ s;
};

export const cmpRegister64: Executor = (cpu, i) => {
  const { r } = cpu;
  const index = i.rm & INDEX;
  const source = i.reg & INDEX;
  const a = r[index];
  const aHigh = r[index + 1];
  const b = r[source];
  const bHigh = r[source + 1];
  const s = (a - b) | 0;
  const sHigh = (aHigh - bHigh - (((~a & b) | ((~a | b) & s)) >>> 31)) | 0;
  r[Slot.CARRIES] = (~aHigh & bHigh) | ((~aHigh | bHigh) & sHigh);
  r[Slot.ZERO_TEST] = s | sHigh;
  r[Slot.SIGN] = sHigh;
  r[Slot.PARITY] = s;
  r[Slot.ADJUST] = a ^ b ^ s;
};

export const andRegister32: Executor = (cpu, i) => {
  const { r } = cpu;
  const index = i.rm & INDEX;
  const s = r[index] & r[i.reg & INDEX];
  logicFlags32(r, s);
  r[index] = s;
  r[index + 1] = 0;
};

export const andRegister64: Executor = (cpu, i) => {
  const { r } = cpu;
  const index = i.rm & INDEX;
  const source = i.reg & INDEX;
  const s = r[index] & r[source];
  const sHigh = r[index + 1] & r[source + 1];
  logicFlags64(r, s, sHigh);
  r[index] = s;
  r[index + 1] = sHigh;
};

export const orRegister32: Executor = (cpu, i) => {
  const { r } = cpu;
  const index = i.rm & INDEX;
  const s = r[index] | r[i.reg & INDEX];
  logicFlags32(r, s);
  r[index] = s;
  r[index + 1] = 0;
};

export const orRegister64: Executor = (cpu, i) => {
  const { r } = cpu;
  const index = i.rm & INDEX;
  const source = i.reg & INDEX;
  const s = r[index] | r[source];
  const sHigh = r[index + 1] | r[source + 1];
  logicFlags64(r, s, sHigh);
  r[index] = s;
  r[index + 1] = sHigh;
};

export const xorRegister32: Executor = (cpu, i) => {
  const { r } = cpu;
  const index = i.rm & INDEX;
  const s = r[index] ^ r[i.reg & INDEX];
  logicFlags32(r, s);
  r[index] = s;
  r[index + 1] = 0;
};

export const xorRegister64: Executor = (cpu, i) => {
  const { r } = cpu;
  const index = i.rm & INDEX;
  const source = i.reg & INDEX;
  const s = r[index] ^ r[source];
  const sHigh = r[index + 1] ^ r[source + 1];
  logicFlags64(r, s, sHigh);
  r[index] = s;
  r[index + 1] = sHigh;
};

export const testRegister32: Executor = (cpu, i) => {
  const { r } = cpu;
  const index = i.rm & INDEX;
  const s = r[index] & r[i.reg & INDEX];
  logicFlags32(r, s);
};

export const testRegister64: Executor = (cpu, i) => {
  const { r } = cpu;
  const index = i.rm & INDEX;
  const source = i.reg & INDEX;
  const s = r[index] & r[source];
  const sHigh = r[index + 1] & r[source + 1];
  logicFlags64(r, s, sHigh);
};

export const addImmediate32: Executor = (cpu, i) => {
  const { r } = cpu;
  const index = i.rm & INDEX;
  const a = r[index];
  const b = i.immediateLow;
  const s = (a + b) | 0;
  r[Slot.CARRIES] = (a & b) | ((a | b) & ~s);
  r[Slot.ZERO_TEST] = s;
  r[Slot.SIGN] = s;
  r[Slot.PARITY] = s;
  r[Slot.ADJUST] = a ^ b ^ s;
  r[index] = s;
  r[index + 1] = 0;
};

export const addImmediate64: Executor = (cpu, i) => {
  const { r } = cpu;
  const index = i.rm & INDEX;
  const a = r[index];
  const aHigh = r[index + 1];
  const b = i.immediateLow;
  const bHigh = i.immediateHigh;
  const s = (a + b) | 0;
  const sHigh = (aHigh + bHigh + (((a & b) | ((a | b) & ~s)) >>> 31)) | 0;
  r[Slot.CARRIES] = (aHigh & bHigh) | ((aHigh | bHigh) & ~sHigh);
  r[Slot.ZERO_TEST] = s | sHigh;
  r[Slot.SIGN] = sHigh;
  r[Slot.PARITY] = s;
  r[Slot.ADJUST] = a ^ b ^ s;
  r[index] = s;
  r[index + 1] = sHigh;
};

export const subImmediate32: Executor = (cpu, i) => {
  const { r } = cpu;
  const index = i.rm & INDEX;
  const a = r[index];
  const b = i.immediateLow;
  const s = (a - b) | 0;
  r[Slot.CARRIES] = (~a & b) | ((~a | b) & s);
  r[Slot.ZERO_TEST] = s;
  r[Slot.SIGN] = s;
  r[Slot.PARITY] = s;
  r[Slot.ADJUST] = a ^ b ^ s;
  r[index] = s;
  r[index + 1] = 0;
};

export const subImmediate64: Executor = (cpu, i) => {
  const { r } = cpu;
  const index = i.rm & INDEX;
  const a = r[index];
  const aHigh = r[index + 1];
  const b = i.immediateLow;
  const bHigh = i.immediateHigh;
  const s = (a - b) | 0;
  const sHigh = (aHigh - bHigh - (((~a & b) | ((~a | b) & s)) >>> 31)) | 0;
  r[Slot.CARRIES] = (~aHigh & bHigh) | ((~aHigh | bHigh) & sHigh);
  r[Slot.ZERO_TEST] = s | sHigh;
  r[Slot.SIGN] = sHigh;
  r[Slot.PARITY] = s;
  r[Slot.ADJUST] = a ^ b ^ s;
  r[index] = s;
  r[index + 1] = sHigh;
};

export const cmpImmediate32: Executor = (cpu, i) => {
  const { r } = cpu;
  const index = i.rm & INDEX;
  const a = r[index];
  const b = i.immediateLow;
  const s = (a - b) | 0;
  r[Slot.CARRIES] = (~a & b) | ((~a | b) & s);
  r[Slot.ZERO_TEST] = s;
  r[Slot.SIGN] = s;
  r[Slot.PARITY] = s;
  r[Slot.ADJUST] = a ^ b ^ s;
};

export const cmpImmediate64: Executor = (cpu, i) => {
  const { r } = cpu;
  const index = i.rm & INDEX;
  const a = r[index];
  const aHigh = r[index + 1];
  const b = i.immediateLow;
  const bHigh = i.immediateHigh;
  const s = (a - b) | 0;
  const sHigh = (aHigh - bHigh - (((~a & b) | ((~a | b) & s)) >>> 31)) | 0;
  r[Slot.CARRIES] = (~aHigh & bHigh) | ((~aHigh | bHigh) & sHigh);
  r[Slot.ZERO_TEST] = s | sHigh;
  r[Slot.SIGN] = sHigh;
  r[Slot.PARITY] = s;
  r[Slot.ADJUST] = a ^ b ^ s;
};

export const andImmediate32: Executor = (cpu, i) => {
  const { r } = cpu;
  const index = i.rm & INDEX;
  const s = r[index] & i.immediateLow;
  logicFlags32(r, s);
  r[index] = s;
  r[index + 1] = 0;
};

export const andImmediate64: Executor = (cpu, i) => {
  const { r } = cpu;
  const index = i.rm & INDEX;
  const s = r[index] & i.immediateLow;
  const sHigh = r[index + 1] & i.immediateHigh;
  logicFlags64(r, s, sHigh);
  r[index] = s;
  r[index + 1] = sHigh;
};

export const orImmediate32: Executor = (cpu, i) => {
  const { r } = cpu;
  const index = i.rm & INDEX;
  const s = r[index] | i.immediateLow;
  logicFlags32(r, s);
  r[index] = s;
  r[index + 1] = 0;
};

export const orImmediate64: Executor = (cpu, i) => {
  const { r } = cpu;
  const index = i.rm & INDEX;
  const s = r[index] | i.immediateLow;
  const sHigh = r[index + 1] | i.immediateHigh;
  logicFlags64(r, s, sHigh);
  r[index] = s;
  r[index + 1] = sHigh;
};

export const xorImmediate32: Executor = (cpu, i) => {
  const { r } = cpu;
  const index = i.rm & INDEX;
  const s = r[index] ^ i.immediateLow;
  logicFlags32(r, s);
  r[index] = s;
  r[index + 1] = 0;
};

export const xorImmediate64: Executor = (cpu, i) => {
  const { r } = cpu;
  const index = i.rm & INDEX;
  const s = r[index] ^ i.immediateLow;
  const sHigh = r[index + 1] ^ i.immediateHigh;
  logicFlags64(r, s, sHigh);
  r[index] = s;
  r[index + 1] = sHigh;
};

export const testImmediate32: Executor = (cpu, i) => {
  const { r } = cpu;
  const index = i.rm & INDEX;
  const s = r[index] & i.immediateLow;
  logicFlags32(r, s);
};

export const testImmediate64: Executor = (cpu, i) => {
  const { r } = cpu;
  const index = i.rm & INDEX;
  const s = r[index] & i.immediateLow;
  const sHigh = r[index + 1] & i.immediateHigh;
  logicFlags64(r, s, sHigh);
};

interface Forms {
  readonly register32: Executor;
  readonly register64: Executor;
  readonly immediate32: Executor;
  readonly immediate64: Executor;
}

const forms: { readonly [operation in number]?: Forms } = {
  [Alu.ADD]: {
    register32: addRegister32,
    register64: addRegister64,
    immediate32: addImmediate32,
    immediate64: addImmediate64,
  },
  [Alu.SUB]: {
    register32: subRegister32,
    register64: subRegister64,
    immediate32: subImmediate32,
    immediate64: subImmediate64,
  },
  [Alu.CMP]: {
    register32: cmpRegister32,
    register64: cmpRegister64,
    immediate32: cmpImmediate32,
    immediate64: cmpImmediate64,
  },
  [Alu.AND]: {
    register32: andRegister32,
    register64: andRegister64,
    immediate32: andImmediate32,
    immediate64: andImmediate64,
  },
  [Alu.OR]: {
    register32: orRegister32,
    register64: orRegister64,
    immediate32: orImmediate32,
    immediate64: orImmediate64,
  },
  [Alu.XOR]: {
    register32: xorRegister32,
    register64: xorRegister64,
    immediate32: xorImmediate32,
    immediate64: xorImmediate64,
  },
  [Alu.TEST]: {
    register32: testRegister32,
    register64: testRegister64,
    immediate32: testImmediate32,
    immediate64: testImmediate64,
  },
};

/** The straight executor of `op rm,reg` or `op rm,immediate` on registers; `undefined` for operations and widths without. */
export function straightAlu(i: Instruction, source: 'register' | 'immediate'): Executor | undefined {
  const found = forms[i.operation];
  if (found === undefined || i.width < 4) return undefined;
  if (source === 'register') return i.width === 4 ? found.register32 : found.register64;
  return i.width === 4 ? found.immediate32 : found.immediate64;
}
