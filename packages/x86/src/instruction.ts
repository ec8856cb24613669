import type { Cpu } from './cpu.ts';
import { Slot } from './slot.ts';
import type { InstructionRow } from './table-row.ts';

/** Carries out one decoded instruction. */
export type Executor = (cpu: Cpu, i: Instruction) => void;

/** How the operands of an instruction are widened: by the mode of the code segment. */
export type CodeMode = 16 | 32 | 64;

/** What the main loop has to know about an instruction. */
export const enum Attribute {
  /** Nothing of the same block may follow: it branches, exits or changes how code is fetched. */
  ENDS_BLOCK = 1,
  /** The executor leaves the next RIP in `Slot.RIP`; for all others the main loop advances it. */
  SETS_RIP = 2,
  LOCK = 4,
  REP = 8,
  REPNE = 16,
  /** ModRM names memory, not a register. */
  MEMORY = 32,
  /** A REX prefix is present: byte registers 4..7 are SPL..DIL. */
  REX = 64,
  /** Operand-size prefix 66h. */
  OPERAND_SIZE = 128,
  /** Pushes or pops besides what ModRM names. */
  STACK = 256,
  /** Delivers an event: a single-step trap does not follow. */
  DELIVERS = 512,
}

export const NO_SLOT = -1;
/** `segment` of an instruction that adds no segment base. */
export const NO_SEGMENT = -1;

/**
 * One decoded instruction. Made once, executed many times, so that every question that can be answered by its bytes
 * and the mode is answered here: operand slots, sign-extended immediates, where it starts and ends in its page.
 */
export class Instruction {
  run: Executor = unreachable;
  row: InstructionRow | undefined = undefined;
  /** Case of `runBlock` that carries it out without a call through `run`; 0: none. */
  hot = 0;
  /** `Attribute` bits. */
  attributes = 0;
  /** Operand width in bytes: 1, 2, 4 or 8. */
  width = 4;
  /** Width of addresses in bytes: 2, 4 or 8. */
  addressWidth = 8;
  mode: CodeMode = 64;
  /** Which of the operations of a family: ALU operation, condition code, register number of ModRM.reg, ... */
  operation = 0;
  /** Operand of ModRM.reg: a word index of the register file for widths 4 and 8, a halfword index for 2, a byte index for 1. */
  reg = 0;
  /** Operand of ModRM.rm when it is a register, or the register in the opcode: as `reg`. */
  rm = 0;
  modrm = 0;
  /** REX bits 3:0 (W R X B). */
  rex = 0;
  /** The address is a 64-bit base plus displacement and nothing else. */
  isSimpleAddress = false;
  /** Slot of the base register. */
  base: number = Slot.ZERO;
  /** Slot of the index register or `NO_SLOT`. */
  index: number = NO_SLOT;
  scale = 0;
  displacementLow = 0;
  displacementHigh = 0;
  /** Word of the segment-base field in the VMCS or `NO_SEGMENT`. */
  segment: number = NO_SEGMENT;
  /** Number of the segment register that the address goes through: 0..5 = ES, CS, SS, DS, FS, GS. */
  segmentNumber = 3;
  /** Immediate, sign-extended to 64 bits. Of a branch: distance from byte 0 of the page to the target. */
  immediateLow = 0;
  immediateHigh = 0;
  /** Second immediate: ENTER's nesting level, the selector of a far pointer. */
  immediate2 = 0;
  /** Offset of the first byte in its page. */
  start = 0;
  /** Offset, from byte 0 of the page in which it starts, of the byte after the last. */
  next = 0;
  length = 0;
  /** Position in its block. */
  position = 0;
}

function unreachable(): void {
  throw new Error('x86: an instruction without executor was reached');
}
