import type { Cpu } from './cpu.ts';
import { compareMemoryRegister, registerImmediate, registerMemory } from './execute/alu.ts';
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
import {
  addImmediate32,
  addImmediate64,
  addRegister32,
  addRegister64,
  andImmediate32,
  andImmediate64,
  andRegister32,
  andRegister64,
  cmpImmediate32,
  cmpImmediate64,
  cmpRegister32,
  cmpRegister64,
  orImmediate32,
  orImmediate64,
  orRegister32,
  orRegister64,
  subImmediate32,
  subImmediate64,
  subRegister32,
  subRegister64,
  testImmediate32,
  testImmediate64,
  testRegister32,
  testRegister64,
  xorImmediate32,
  xorImmediate64,
  xorRegister32,
  xorRegister64,
} from './execute/straight-alu.ts';
import { stepRegister32, stepRegister64 } from './execute/unary.ts';
import type { Executor, Instruction } from './instruction.ts';

const aluImmediate8 = registerImmediate[1];
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
  aluImmediate8,
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
  addRegister32,
  addRegister64,
  addImmediate32,
  addImmediate64,
  subRegister32,
  subRegister64,
  subImmediate32,
  subImmediate64,
  cmpRegister32,
  cmpRegister64,
  cmpImmediate32,
  cmpImmediate64,
  andRegister32,
  andRegister64,
  andImmediate32,
  andImmediate64,
  orRegister32,
  orRegister64,
  orImmediate32,
  orImmediate64,
  xorRegister32,
  xorRegister64,
  xorImmediate32,
  xorImmediate64,
  testRegister32,
  testRegister64,
  testImmediate32,
  testImmediate64,
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
        aluImmediate8(cpu, i);
        break;
      case 2:
        aluMemory32(cpu, i);
        break;
      case 3:
        aluMemory64(cpu, i);
        break;
      case 4:
        compareMemory64(cpu, i);
        break;
      case 5:
        store8(cpu, i);
        break;
      case 6:
        store32(cpu, i);
        break;
      case 7:
        store64(cpu, i);
        break;
      case 8:
        load8(cpu, i);
        break;
      case 9:
        load32(cpu, i);
        break;
      case 10:
        load64(cpu, i);
        break;
      case 11:
        copy32(cpu, i);
        break;
      case 12:
        copy64(cpu, i);
        break;
      case 13:
        copyBack32(cpu, i);
        break;
      case 14:
        copyBack64(cpu, i);
        break;
      case 15:
        set32(cpu, i);
        break;
      case 16:
        set64(cpu, i);
        break;
      case 17:
        jumpIfZero(cpu, i);
        break;
      case 18:
        jumpIfNotZero(cpu, i);
        break;
      case 19:
        jumpOnCondition(cpu, i);
        break;
      case 20:
        jump(cpu, i);
        break;
      case 21:
        call(cpu, i);
        break;
      case 22:
        returnNear(cpu, i);
        break;
      case 23:
        pushRegister(cpu, i);
        break;
      case 24:
        popRegister(cpu, i);
        break;
      case 25:
        leaRegister(cpu, i);
        break;
      case 26:
        stepRegister32(cpu, i);
        break;
      case 27:
        stepRegister64(cpu, i);
        break;
      case 28:
        shiftRegisterByImmediate(cpu, i);
        break;
      case 29:
        moveZeroExtended(cpu, i);
        break;
      case 30:
        setOnCondition(cpu, i);
        break;
      case 31:
        addRegister32(cpu, i);
        break;
      case 32:
        addRegister64(cpu, i);
        break;
      case 33:
        addImmediate32(cpu, i);
        break;
      case 34:
        addImmediate64(cpu, i);
        break;
      case 35:
        subRegister32(cpu, i);
        break;
      case 36:
        subRegister64(cpu, i);
        break;
      case 37:
        subImmediate32(cpu, i);
        break;
      case 38:
        subImmediate64(cpu, i);
        break;
      case 39:
        cmpRegister32(cpu, i);
        break;
      case 40:
        cmpRegister64(cpu, i);
        break;
      case 41:
        cmpImmediate32(cpu, i);
        break;
      case 42:
        cmpImmediate64(cpu, i);
        break;
      case 43:
        andRegister32(cpu, i);
        break;
      case 44:
        andRegister64(cpu, i);
        break;
      case 45:
        andImmediate32(cpu, i);
        break;
      case 46:
        andImmediate64(cpu, i);
        break;
      case 47:
        orRegister32(cpu, i);
        break;
      case 48:
        orRegister64(cpu, i);
        break;
      case 49:
        orImmediate32(cpu, i);
        break;
      case 50:
        orImmediate64(cpu, i);
        break;
      case 51:
        xorRegister32(cpu, i);
        break;
      case 52:
        xorRegister64(cpu, i);
        break;
      case 53:
        xorImmediate32(cpu, i);
        break;
      case 54:
        xorImmediate64(cpu, i);
        break;
      case 55:
        testRegister32(cpu, i);
        break;
      case 56:
        testRegister64(cpu, i);
        break;
      case 57:
        testImmediate32(cpu, i);
        break;
      case 58:
        testImmediate64(cpu, i);
        break;
      default:
        i.run(cpu, i);
    }
  } while (position < cpu.blockEnd);
}
