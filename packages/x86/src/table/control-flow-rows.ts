import {
  call,
  callIndirect,
  jump,
  jumpIfNotZero,
  jumpIfZero,
  jumpIndirect,
  jumpOnCondition,
  Loop,
  loop,
  returnNear,
} from '../execute/control-flow.ts';
import { callFar, interruptReturn, jumpFar, returnFar } from '../execute/far.ts';
import { systemCall, systemEnter, systemExit, systemReturn } from '../execute/fast-system-call.ts';
import {
  breakpoint,
  debugTrap,
  halt,
  interruptOnOverflow,
  softwareInterrupt,
  undefinedOpcode,
} from '../execute/interrupts.ts';
import type { Executor, Instruction } from '../instruction.ts';
import { always, type ExecutableRow, RowFlag, row } from '../table-row.ts';
import { conditionNames } from './conditions.ts';

const near = RowFlag.SETS_RIP | RowFlag.FORCED_64;
const nearStack = near | RowFlag.STACK;
const far = RowFlag.SETS_RIP | RowFlag.STACK;
const delivers = RowFlag.SETS_RIP | RowFlag.STACK | RowFlag.DELIVERS;

const EQUAL = 4;
const NOT_EQUAL = 5;

/** The two commonest conditions have executors of their own. */
function jumpByCondition(i: Instruction): Executor {
  if (i.operation === EQUAL) return jumpIfZero;
  return i.operation === NOT_EQUAL ? jumpIfNotZero : jumpOnCondition;
}

/** Branches, calls, returns, software interrupts. */
export const controlFlowRows: readonly ExecutableRow[] = [
  ...conditionNames.flatMap((name, operation) => [
    row(0x70 + operation, 'Jb', `j${name}`, jumpByCondition, { operation, flags: near }),
    row(0x180 + operation, 'Jz', `j${name}`, jumpByCondition, { operation, flags: near }),
  ]),
  row(0xe0, 'Jb', 'loopne', always(loop), { operation: Loop.NOT_EQUAL, flags: near }),
  row(0xe1, 'Jb', 'loope', always(loop), { operation: Loop.EQUAL, flags: near }),
  row(0xe2, 'Jb', 'loop', always(loop), { operation: Loop.ALWAYS, flags: near }),
  row(0xe3, 'Jb', 'jrcxz', always(loop), { operation: Loop.IF_ZERO, flags: near }),
  row(0xe8, 'Jz', 'call', always(call), { flags: nearStack }),
  row(0xe9, 'Jz', 'jmp', always(jump), { flags: near }),
  row(0xeb, 'Jb', 'jmp', always(jump), { flags: near }),
  row(0xff, 'Ev', 'call', always(callIndirect), { flags: nearStack, extension: 2 }),
  row(0xff, 'Ev', 'jmp', always(jumpIndirect), { flags: near, extension: 4 }),
  row(0xc2, 'Iw', 'ret', always(returnNear), { flags: nearStack }),
  row(0xc3, '', 'ret', always(returnNear), { flags: nearStack }),
  row(0xff, 'M', 'call', always(callFar), { flags: far, extension: 3 }),
  row(0xff, 'M', 'jmp', always(jumpFar), { flags: RowFlag.SETS_RIP, extension: 5 }),
  row(0xca, 'Iw', 'retf', always(returnFar), { flags: far }),
  row(0xcb, '', 'retf', always(returnFar), { flags: far }),
  row(0xcc, '', 'int3', always(breakpoint), { flags: delivers }),
  row(0xcd, 'Ib', 'int', always(softwareInterrupt), { flags: delivers }),
  row(0xce, '', 'into', always(interruptOnOverflow), { flags: delivers | RowFlag.NOT_IN_64 }),
  row(0xf1, '', 'int1', always(debugTrap), { flags: delivers }),
  row(0xcf, '', 'iret', always(interruptReturn), { flags: far }),
  row(0x105, '', 'syscall', always(systemCall), { flags: RowFlag.SETS_RIP }),
  row(0x107, '', 'sysret', always(systemReturn), { flags: RowFlag.SETS_RIP }),
  row(0x134, '', 'sysenter', always(systemEnter), { flags: RowFlag.SETS_RIP }),
  row(0x135, '', 'sysexit', always(systemExit), { flags: RowFlag.SETS_RIP }),
  row(0xf4, '', 'hlt', always(halt), { flags: RowFlag.ENDS_BLOCK }),
  row(0x10b, '', 'ud2', always(undefinedOpcode), { flags: RowFlag.ENDS_BLOCK }),
  row(0x1b9, 'Gv,Ev', 'ud1', always(undefinedOpcode), { flags: RowFlag.ENDS_BLOCK }),
  row(0x1ff, 'Gv,Ev', 'ud0', always(undefinedOpcode), { flags: RowFlag.ENDS_BLOCK }),
];
