export { HOST_TICK_VECTOR } from './boundary.ts';
export { isInstruction } from './decode/decoder.ts';
export { EptOutcome, type EptRequest, EptWalk, eptAccess, walkEpt } from './ept.ts';
export type { ProcessorObserver } from './observer.ts';
export {
  entryAddress,
  type PagingRequest,
  PagingWalk,
  pagingAccess,
  type TableReader,
  WalkOutcome,
  walkPaging,
} from './paging.ts';
export { type Invalidation, Processor, type ProcessorOptions } from './processor.ts';
export {
  R8,
  R9,
  R10,
  R11,
  R12,
  R13,
  R14,
  R15,
  RAX,
  RBP,
  RBX,
  RCX,
  RDI,
  RDX,
  Registers,
  RSI,
  RSP,
} from './registers.ts';
export { instructionTable } from './table.ts';
export { type InstructionRow, type Operand, type OperandKind, type OperandWidth, RowFlag } from './table-row.ts';
