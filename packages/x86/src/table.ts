import { controlFlowRows } from './table/control-flow-rows.ts';
import { integerRows } from './table/integer-rows.ts';
import { stringRows } from './table/string-rows.ts';
import { systemRows } from './table/system-rows.ts';
import { vmxRows } from './table/vmx-rows.ts';
import type { ExecutableRow, InstructionRow } from './table-row.ts';

/** The rows with their executors. */
export const executableTable: readonly ExecutableRow[] = [
  ...vmxRows,
  ...integerRows,
  ...controlFlowRows,
  ...stringRows,
  ...systemRows,
];

/**
 * Every opcode form that the processor knows. Rows of one opcode are tried in this order: narrower ones stand first.
 * Source: SDM volume 2, "Opcode Map".
 */
export const instructionTable: readonly InstructionRow[] = executableTable;
