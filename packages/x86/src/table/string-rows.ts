import { input, inputString, output, outputString, PortOperand } from '../execute/io.ts';
import { compareString, loadString, moveString, scanString, storeString } from '../execute/string.ts';
import { always, type ExecutableRow, RowFlag, row } from '../table-row.ts';

const repeats = RowFlag.SETS_RIP;

/** String instructions and port I/O. */
export const stringRows: readonly ExecutableRow[] = [
  row(0xa4, 'Yb,Xb', 'movs', always(moveString), { flags: repeats }),
  row(0xa5, 'Yv,Xv', 'movs', always(moveString), { flags: repeats }),
  row(0xa6, 'Xb,Yb', 'cmps', always(compareString), { flags: repeats }),
  row(0xa7, 'Xv,Yv', 'cmps', always(compareString), { flags: repeats }),
  row(0xaa, 'Yb,ab', 'stos', always(storeString), { flags: repeats }),
  row(0xab, 'Yv,av', 'stos', always(storeString), { flags: repeats }),
  row(0xac, 'ab,Xb', 'lods', always(loadString), { flags: repeats }),
  row(0xad, 'av,Xv', 'lods', always(loadString), { flags: repeats }),
  row(0xae, 'ab,Yb', 'scas', always(scanString), { flags: repeats }),
  row(0xaf, 'av,Yv', 'scas', always(scanString), { flags: repeats }),
  row(0x6c, 'Yb,D', 'ins', always(inputString), { flags: repeats }),
  row(0x6d, 'Yz,D', 'ins', always(inputString), { flags: repeats }),
  row(0x6e, 'Xb,D', 'outs', always(outputString), { flags: repeats }),
  row(0x6f, 'Xz,D', 'outs', always(outputString), { flags: repeats }),
  row(0xe4, 'Ab,Ib', 'in', always(input), { operation: PortOperand.IMMEDIATE, flags: RowFlag.ENDS_BLOCK }),
  row(0xe5, 'Az,Ib', 'in', always(input), { operation: PortOperand.IMMEDIATE, flags: RowFlag.ENDS_BLOCK }),
  row(0xe6, 'Ib,ab', 'out', always(output), { operation: PortOperand.IMMEDIATE, flags: RowFlag.ENDS_BLOCK }),
  row(0xe7, 'Ib,az', 'out', always(output), { operation: PortOperand.IMMEDIATE, flags: RowFlag.ENDS_BLOCK }),
  row(0xec, 'Ab,D', 'in', always(input), { operation: PortOperand.DX, flags: RowFlag.ENDS_BLOCK }),
  row(0xed, 'Az,D', 'in', always(input), { operation: PortOperand.DX, flags: RowFlag.ENDS_BLOCK }),
  row(0xee, 'D,ab', 'out', always(output), { operation: PortOperand.DX, flags: RowFlag.ENDS_BLOCK }),
  row(0xef, 'D,az', 'out', always(output), { operation: PortOperand.DX, flags: RowFlag.ENDS_BLOCK }),
];
