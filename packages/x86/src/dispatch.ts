import type { Cpu } from './cpu.ts';
import { compareMemoryRegister, registerImmediate, registerMemory, registerRegister } from './execute/alu.ts';
import { setOnCondition } from './execute/bits.ts';
import { call, jump, jumpIfNotZero, jumpIfZero, jumpOnCondition, returnNear } from './execute/control-flow.ts';
import {
  fromMemory,
  fromRegister,
  immediateToRegister,
  leaRegister,
  moveZeroExtended,
  toMemory,
  toRegister,
} from './execute/move.ts';
import { shiftRegisterByImmediate } from './execute/shift.ts';
import { popRegister, pushRegister } from './execute/stack.ts';
import { stepRegister32, stepRegister64 } from './execute/unary.ts';
import type { Executor, Instruction } from './instruction.ts';

const aluRegister32 = registerRegister[4];
const aluRegister64 = registerRegister[8];
const aluImmediate8 = registerImmediate[1];
const aluImmediate32 = registerImmediate[4];
const aluImmediate64 = registerImmediate[8];
const aluMemory32 = registerMemory[4];
const aluMemory64 = registerMemory[8];
const compareMemory64 = compareMemoryRegister[8];
const store8 = toMemory[1];
const store32 = toMemory[4];
const store64 = toMemory[8];
const load8 = fromMemory[1];
const load32 = fromMemory[4];
const load64 = fromMemory[8];
const copy32 = toRegister[4];
const copy64 = toRegister[8];
const copyBack32 = fromRegister[4];
const copyBack64 = fromRegister[8];
const set32 = immediateToRegister[4];
const set64 = immediateToRegister[8];

/** Executors that `runBlock` calls by name, in the order of its cases from 1 on. */
const hotExecutors: readonly Executor[] = [
  aluRegister32,
  aluRegister64,
  aluImmediate8,
  aluImmediate32,
  aluImmediate64,
  aluMemory32,
  aluMemory64,
  compareMemory64,
  store8,
  store32,
  store64,
  load8,
  load32,
  load64,
  copy32,
  copy64,
  copyBack32,
  copyBack64,
  set32,
  set64,
  jumpIfZero,
  jumpIfNotZero,
  jumpOnCondition,
  jump,
  call,
  returnNear,
  pushRegister,
  popRegister,
  leaRegister,
  stepRegister32,
  stepRegister64,
  shiftRegisterByImmediate,
  moveZeroExtended,
  setOnCondition,
];

/** The case of `runBlock` for an executor, 0 for one without. */
export function hotCase(executor: Executor): number {
  return hotExecutors.indexOf(executor) + 1;
}

/**
 * Carries out the instructions of a block up to `cpu.blockEnd`, which an instruction may lower to end it.
 * Calls by name cost half as much as calls through `run`, and the compiler can inline them.
 */
export function runBlock(cpu: Cpu, list: readonly Instruction[]): void {
  let position = 0;
  do {
    const i = list[position++];
    cpu.position = position;
    switch (i.hot) {
      case 1:
        aluRegister32(cpu, i);
        break;
      case 2:
        aluRegister64(cpu, i);
        break;
      case 3:
        aluImmediate8(cpu, i);
        break;
      case 4:
        aluImmediate32(cpu, i);
        break;
      case 5:
        aluImmediate64(cpu, i);
        break;
      case 6:
        aluMemory32(cpu, i);
        break;
      case 7:
        aluMemory64(cpu, i);
        break;
      case 8:
        compareMemory64(cpu, i);
        break;
      case 9:
        store8(cpu, i);
        break;
      case 10:
        store32(cpu, i);
        break;
      case 11:
        store64(cpu, i);
        break;
      case 12:
        load8(cpu, i);
        break;
      case 13:
        load32(cpu, i);
        break;
      case 14:
        load64(cpu, i);
        break;
      case 15:
        copy32(cpu, i);
        break;
      case 16:
        copy64(cpu, i);
        break;
      case 17:
        copyBack32(cpu, i);
        break;
      case 18:
        copyBack64(cpu, i);
        break;
      case 19:
        set32(cpu, i);
        break;
      case 20:
        set64(cpu, i);
        break;
      case 21:
        jumpIfZero(cpu, i);
        break;
      case 22:
        jumpIfNotZero(cpu, i);
        break;
      case 23:
        jumpOnCondition(cpu, i);
        break;
      case 24:
        jump(cpu, i);
        break;
      case 25:
        call(cpu, i);
        break;
      case 26:
        returnNear(cpu, i);
        break;
      case 27:
        pushRegister(cpu, i);
        break;
      case 28:
        popRegister(cpu, i);
        break;
      case 29:
        leaRegister(cpu, i);
        break;
      case 30:
        stepRegister32(cpu, i);
        break;
      case 31:
        stepRegister64(cpu, i);
        break;
      case 32:
        shiftRegisterByImmediate(cpu, i);
        break;
      case 33:
        moveZeroExtended(cpu, i);
        break;
      case 34:
        setOnCondition(cpu, i);
        break;
      default:
        i.run(cpu, i);
    }
  } while (position < cpu.blockEnd);
}
