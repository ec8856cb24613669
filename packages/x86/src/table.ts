import { controlFlowRows } from './table/control-flow-rows.ts';
import { integerRows } from './table/integer-rows.ts';
import { stringRows } from './table/string-rows.ts';
import { systemRows } from './table/system-rows.ts';
import { vmxRows } from './table/vmx-rows.ts';
import type { InstructionRow } from './table-row.ts';

/**
 * Every opcode form that the processor knows. Rows of one opcode are tried in this order: narrower ones stand first.
 * Source: SDM volume 2, "Opcode Map".
 */
export const instructionTable: readonly InstructionRow[] = [
  ...vmxRows,
  ...integerRows,
  ...controlFlowRows,
  ...stringRows,
  ...systemRows,
];
