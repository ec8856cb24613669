import { aluImmediate, aluToOperand, aluToRegister } from '../execute/alu.ts';
import { Alu } from '../execute/alu-operation.ts';
import {
  BitTest,
  bitScanForward,
  bitScanReverse,
  bitTestImmediate,
  bitTestRegister,
  byteSwap,
  moveOnCondition,
  populationCount,
  setOnCondition,
} from '../execute/bits.ts';
import {
  clearCarry,
  complementCarry,
  loadAhFromFlags,
  setCarryFlag,
  storeAhIntoFlags,
} from '../execute/flag-control.ts';
import {
  exchange,
  leaRegister,
  moveImmediate,
  moveNonTemporal,
  moveSignExtended,
  moveToOperand,
  moveToRegister,
  moveZeroExtended,
  spreadSign,
  translateByte,
  widenAccumulator,
} from '../execute/move.ts';
import {
  divide,
  divideSigned,
  multiply,
  multiplyImmediate,
  multiplyRegister,
  multiplySigned,
} from '../execute/multiply.ts';
import { moveFromSegment, moveToSegment } from '../execute/segment-moves.ts';
import { doubleShiftByCl, doubleShiftByImmediate, Shift, shiftByCl, shiftByImmediate } from '../execute/shift.ts';
import {
  enter,
  leave,
  popFlags,
  popOperand,
  popRegister,
  popSegment,
  pushFlags,
  pushImmediate,
  pushOperand,
  pushRegister,
  pushSegment,
} from '../execute/stack.ts';
import { noOperation, pause } from '../execute/system.ts';
import { compareExchange, compareExchangePair, exchangeAdd, Unary, unary } from '../execute/unary.ts';
import { Segment } from '../segments.ts';
import { always, type ExecutableRow, RowFlag, row } from '../table-row.ts';
import { conditionNames } from './conditions.ts';

const lockable = RowFlag.LOCKABLE;
const stack = RowFlag.STACK | RowFlag.DEFAULT_64;

const aluNames = ['add', 'or', 'adc', 'sbb', 'and', 'sub', 'xor', 'cmp'] as const;
const shiftNames = ['rol', 'ror', 'rcl', 'rcr', 'shl', 'shr', 'sal', 'sar'] as const;
const bitTestNames = ['bt', 'bts', 'btr', 'btc'] as const;

/** Eight opcodes of the same shape for each two-operand operation, and the immediate group. CMP does not write. */
const aluRows = aluNames.flatMap((name, operation) => {
  const base = operation * 8;
  const flags = operation === Alu.CMP ? 0 : lockable;
  return [
    row(base, 'Eb,Gb', name, aluToOperand, { operation, flags }),
    row(base + 1, 'Ev,Gv', name, aluToOperand, { operation, flags }),
    row(base + 2, 'Gb,Eb', name, aluToRegister, { operation }),
    row(base + 3, 'Gv,Ev', name, aluToRegister, { operation }),
    row(base + 4, 'Ab,Ib', name, aluImmediate, { operation }),
    row(base + 5, 'Av,Iz', name, aluImmediate, { operation }),
    row(0x80, 'Eb,Ib', name, aluImmediate, { operation, flags, extension: operation }),
    row(0x81, 'Ev,Iz', name, aluImmediate, { operation, flags, extension: operation }),
    row(0x82, 'Eb,Ib', name, aluImmediate, { operation, flags: flags | RowFlag.NOT_IN_64, extension: operation }),
    row(0x83, 'Ev,Sb', name, aluImmediate, { operation, flags, extension: operation }),
  ];
});

const shiftRows = shiftNames.flatMap((name, operation) => [
  row(0xc0, 'Eb,Ib', name, shiftByImmediate, { operation, extension: operation }),
  row(0xc1, 'Ev,Ib', name, shiftByImmediate, { operation, extension: operation }),
  row(0xd0, 'Eb,1', name, shiftByImmediate, { operation, extension: operation }),
  row(0xd1, 'Ev,1', name, shiftByImmediate, { operation, extension: operation }),
  row(0xd2, 'Eb,C', name, shiftByCl, { operation, extension: operation }),
  row(0xd3, 'Ev,C', name, shiftByCl, { operation, extension: operation }),
]);

const bitTestRows = bitTestNames.flatMap((name, operation) => {
  const flags = operation === BitTest.BT ? 0 : lockable;
  return [
    row(0x1a3 + 8 * operation, 'Ev,Gv', name, always(bitTestRegister), { operation, flags }),
    row(0x1ba, 'Ev,Ib', name, always(bitTestImmediate), { operation, flags, extension: 4 + operation }),
  ];
});

const unaryRows = [
  row(0xf6, 'Eb', 'not', unary, { operation: Unary.NOT, flags: lockable, extension: 2 }),
  row(0xf7, 'Ev', 'not', unary, { operation: Unary.NOT, flags: lockable, extension: 2 }),
  row(0xf6, 'Eb', 'neg', unary, { operation: Unary.NEG, flags: lockable, extension: 3 }),
  row(0xf7, 'Ev', 'neg', unary, { operation: Unary.NEG, flags: lockable, extension: 3 }),
  row(0xfe, 'Eb', 'inc', unary, { operation: Unary.INC, flags: lockable, extension: 0 }),
  row(0xff, 'Ev', 'inc', unary, { operation: Unary.INC, flags: lockable, extension: 0 }),
  row(0xfe, 'Eb', 'dec', unary, { operation: Unary.DEC, flags: lockable, extension: 1 }),
  row(0xff, 'Ev', 'dec', unary, { operation: Unary.DEC, flags: lockable, extension: 1 }),
];

const registerNumbers = [0, 1, 2, 3, 4, 5, 6, 7] as const;

/** The eight opcodes that carry a register number. In 64-bit mode 40..4F are REX prefixes and never come here. */
const registerRows = registerNumbers.flatMap((n) => [
  row(0x40 + n, 'Zv', 'inc', unary, { operation: Unary.INC, flags: RowFlag.NOT_IN_64 }),
  row(0x48 + n, 'Zv', 'dec', unary, { operation: Unary.DEC, flags: RowFlag.NOT_IN_64 }),
  row(0x50 + n, 'Zv', 'push', always(pushRegister), { flags: stack }),
  row(0x58 + n, 'Zv', 'pop', always(popRegister), { flags: stack }),
  row(0xb0 + n, 'Zb,Ib', 'mov', moveImmediate),
  row(0xb8 + n, 'Zv,Iv', 'mov', moveImmediate),
  row(0x1c8 + n, 'Zv', 'bswap', always(byteSwap)),
]);

const exchangeRows = [
  row(0x90, '', 'pause', always(pause), { prefix: 0xf3, flags: RowFlag.ENDS_BLOCK }),
  row(0x90, 'Zv,av', 'nop', (i) => ((i.rex & 1) === 1 ? exchange : noOperation)),
  ...registerNumbers.slice(1).map((n) => row(0x90 + n, 'Zv,av', 'xchg', always(exchange))),
  row(0x86, 'Eb,Gb', 'xchg', always(exchange), { flags: lockable }),
  row(0x87, 'Ev,Gv', 'xchg', always(exchange), { flags: lockable }),
  row(0x1b0, 'Eb,Gb', 'cmpxchg', always(compareExchange), { flags: lockable }),
  row(0x1b1, 'Ev,Gv', 'cmpxchg', always(compareExchange), { flags: lockable }),
  row(0x1c0, 'Eb,Gb', 'xadd', always(exchangeAdd), { flags: lockable }),
  row(0x1c1, 'Ev,Gv', 'xadd', always(exchangeAdd), { flags: lockable }),
  row(0x1c7, 'My', 'cmpxchg8b', always(compareExchangePair), { flags: lockable, extension: 1 }),
];

const conditionRows = conditionNames.flatMap((name, operation) => [
  row(0x140 + operation, 'Gv,Ev', `cmov${name}`, always(moveOnCondition), { operation }),
  row(0x190 + operation, 'Eb', `set${name}`, always(setOnCondition), { operation }),
]);

const moveRows = [
  row(0x88, 'Eb,Gb', 'mov', moveToOperand),
  row(0x89, 'Ev,Gv', 'mov', moveToOperand),
  row(0x8a, 'Gb,Eb', 'mov', moveToRegister),
  row(0x8b, 'Gv,Ev', 'mov', moveToRegister),
  row(0xa0, 'ab,Ob', 'mov', moveToRegister),
  row(0xa1, 'av,Ov', 'mov', moveToRegister),
  row(0xa2, 'Ob,ab', 'mov', moveToOperand),
  row(0xa3, 'Ov,av', 'mov', moveToOperand),
  row(0xc6, 'Eb,Ib', 'mov', moveImmediate, { extension: 0 }),
  row(0xc7, 'Ev,Iz', 'mov', moveImmediate, { extension: 0 }),
  row(0x1c3, 'My,Gy', 'movnti', always(moveNonTemporal)),
  row(0x63, 'Gv,Ed', 'movsxd', always(moveSignExtended), { operation: 4, flags: RowFlag.ONLY_IN_64 }),
  row(0x1b6, 'Gv,Eb', 'movzx', always(moveZeroExtended), { operation: 1 }),
  row(0x1b7, 'Gv,Ew', 'movzx', always(moveZeroExtended), { operation: 2 }),
  row(0x1be, 'Gv,Eb', 'movsx', always(moveSignExtended), { operation: 1 }),
  row(0x1bf, 'Gv,Ew', 'movsx', always(moveSignExtended), { operation: 2 }),
  row(0x8d, 'Gv,M', 'lea', always(leaRegister), { flags: RowFlag.NO_SEGMENT }),
  row(0x8c, 'Ev,W', 'mov', always(moveFromSegment)),
  row(0x8e, 'W,Ew', 'mov', always(moveToSegment), { flags: RowFlag.ENDS_BLOCK }),
  row(0x98, '', 'cbw', always(widenAccumulator)),
  row(0x99, '', 'cwd', always(spreadSign)),
  row(0xd7, '', 'xlat', always(translateByte)),
];

const stackRows = [
  row(0x68, 'Iz', 'push', always(pushImmediate), { flags: stack }),
  row(0x6a, 'Sb', 'push', always(pushImmediate), { flags: stack }),
  row(0xff, 'Ev', 'push', pushOperand, { flags: stack, extension: 6 }),
  row(0x8f, 'Ev', 'pop', popOperand, { flags: stack, extension: 0 }),
  row(0x9c, '', 'pushf', always(pushFlags), { flags: stack }),
  row(0x9d, '', 'popf', always(popFlags), { flags: stack | RowFlag.ENDS_BLOCK }),
  row(0xc8, 'Iw,2b', 'enter', always(enter), { flags: stack }),
  row(0xc9, '', 'leave', always(leave), { flags: stack }),
  row(0x06, '', 'push', always(pushSegment), { operation: Segment.ES, flags: stack | RowFlag.NOT_IN_64 }),
  row(0x0e, '', 'push', always(pushSegment), { operation: Segment.CS, flags: stack | RowFlag.NOT_IN_64 }),
  row(0x16, '', 'push', always(pushSegment), { operation: Segment.SS, flags: stack | RowFlag.NOT_IN_64 }),
  row(0x1e, '', 'push', always(pushSegment), { operation: Segment.DS, flags: stack | RowFlag.NOT_IN_64 }),
  row(0x1a0, '', 'push', always(pushSegment), { operation: Segment.FS, flags: stack }),
  row(0x1a8, '', 'push', always(pushSegment), { operation: Segment.GS, flags: stack }),
  ...[0x07, 0x17, 0x1f].map((opcode) =>
    row(opcode, '', 'pop', always(popSegment), {
      operation: opcode >> 3,
      flags: stack | RowFlag.NOT_IN_64 | RowFlag.ENDS_BLOCK,
    }),
  ),
  row(0x1a1, '', 'pop', always(popSegment), { operation: Segment.FS, flags: stack | RowFlag.ENDS_BLOCK }),
  row(0x1a9, '', 'pop', always(popSegment), { operation: Segment.GS, flags: stack | RowFlag.ENDS_BLOCK }),
];

const otherRows = [
  row(0x84, 'Eb,Gb', 'test', aluToOperand, { operation: Alu.TEST }),
  row(0x85, 'Ev,Gv', 'test', aluToOperand, { operation: Alu.TEST }),
  row(0xa8, 'Ab,Ib', 'test', aluImmediate, { operation: Alu.TEST }),
  row(0xa9, 'Av,Iz', 'test', aluImmediate, { operation: Alu.TEST }),
  ...[0, 1].flatMap((extension) => [
    row(0xf6, 'Eb,Ib', 'test', aluImmediate, { operation: Alu.TEST, extension }),
    row(0xf7, 'Ev,Iz', 'test', aluImmediate, { operation: Alu.TEST, extension }),
  ]),
  row(0xf6, 'Eb', 'mul', always(multiply), { extension: 4 }),
  row(0xf7, 'Ev', 'mul', always(multiply), { extension: 4 }),
  row(0xf6, 'Eb', 'imul', always(multiplySigned), { extension: 5 }),
  row(0xf7, 'Ev', 'imul', always(multiplySigned), { extension: 5 }),
  row(0xf6, 'Eb', 'div', always(divide), { extension: 6 }),
  row(0xf7, 'Ev', 'div', always(divide), { extension: 6 }),
  row(0xf6, 'Eb', 'idiv', always(divideSigned), { extension: 7 }),
  row(0xf7, 'Ev', 'idiv', always(divideSigned), { extension: 7 }),
  row(0x1af, 'Gv,Ev', 'imul', always(multiplyRegister)),
  row(0x69, 'Gv,Ev,Iz', 'imul', always(multiplyImmediate)),
  row(0x6b, 'Gv,Ev,Sb', 'imul', always(multiplyImmediate)),
  row(0x1a4, 'Ev,Gv,Ib', 'shld', doubleShiftByImmediate, { operation: Shift.SHL }),
  row(0x1a5, 'Ev,Gv,C', 'shld', always(doubleShiftByCl), { operation: Shift.SHL }),
  row(0x1ac, 'Ev,Gv,Ib', 'shrd', doubleShiftByImmediate, { operation: Shift.SHR }),
  row(0x1ad, 'Ev,Gv,C', 'shrd', always(doubleShiftByCl), { operation: Shift.SHR }),
  row(0x1bc, 'Gv,Ev', 'bsf', always(bitScanForward)),
  row(0x1bd, 'Gv,Ev', 'bsr', always(bitScanReverse)),
  row(0x1b8, 'Gv,Ev', 'popcnt', always(populationCount), { prefix: 0xf3 }),
  row(0xf5, '', 'cmc', always(complementCarry)),
  row(0xf8, '', 'clc', always(clearCarry)),
  row(0xf9, '', 'stc', always(setCarryFlag)),
  row(0x9e, '', 'sahf', always(storeAhIntoFlags)),
  row(0x9f, '', 'lahf', always(loadAhFromFlags)),
];

/** Integer instructions that need no privilege. */
export const integerRows: readonly ExecutableRow[] = [
  ...aluRows,
  ...shiftRows,
  ...bitTestRows,
  ...unaryRows,
  ...registerRows,
  ...exchangeRows,
  ...conditionRows,
  ...moveRows,
  ...stackRows,
  ...otherRows,
];
