import type { Executor, Instruction } from './instruction.ts';

/** Properties of a row that the decoder acts on. */
export enum RowFlag {
  /** LOCK is allowed with a memory destination. */
  LOCKABLE = 1,
  /** Last of its block. */
  ENDS_BLOCK = 2,
  /** The executor leaves the next RIP; implies `ENDS_BLOCK`. */
  SETS_RIP = 4,
  /** Undefined in 64-bit mode. */
  NOT_IN_64 = 8,
  /** Undefined outside of 64-bit mode. */
  ONLY_IN_64 = 16,
  /** Operand width 64 in 64-bit mode without REX.W. */
  DEFAULT_64 = 32,
  /** Operand width 64 in 64-bit mode whatever the prefixes are. */
  FORCED_64 = 64,
  /** Uses the stack besides what ModRM names. */
  STACK = 128,
  /** Delivers an event through the IDT. */
  DELIVERS = 256,
  /** The operand is a register whatever ModRM.mod is: moves of control and debug registers. */
  REGISTER_OPERAND = 512,
  /** Address arithmetic only: no segment base. */
  NO_SEGMENT = 1024,
}

/** What an operand is; the width is `OperandWidth`. */
export type OperandKind =
  /** ModRM.rm: register or memory */
  | 'E'
  /** ModRM.reg */
  | 'G'
  /** ModRM.rm, memory only */
  | 'M'
  /** ModRM.rm, register only */
  | 'R'
  /** register in the opcode */
  | 'Z'
  /** accumulator as destination (the place of ModRM.rm) */
  | 'A'
  /** accumulator as source (the place of ModRM.reg) */
  | 'a'
  /** immediate */
  | 'I'
  /** sign-extended immediate byte */
  | 'S'
  /** relative branch target */
  | 'J'
  /** memory at an address without ModRM */
  | 'O'
  /** [rSI] and [rDI] of string instructions */
  | 'X'
  | 'Y'
  /** the constant 1, as an immediate; a second immediate byte */
  | '1'
  | '2'
  /** CL as a count, DX as a port number */
  | 'C'
  | 'D'
  /** segment register in ModRM.reg */
  | 'W'
  /** far pointer in the instruction */
  | 'P';

/** `b` 8, `w` 16, `d` 32, `q` 64 bits; `v` operand size; `z` the same, at most 32 bits; `y` 32 or 64 bits; '' none. */
export type OperandWidth = 'b' | 'w' | 'd' | 'q' | 'v' | 'z' | 'y' | '';

/** One operand of a row. */
export interface Operand {
  readonly kind: OperandKind;
  readonly width: OperandWidth;
}

/**
 * One opcode form. Decoder and executor derive from these rows; so can a disassembler and a test generator.
 */
export interface InstructionRow {
  /** Opcode byte plus 0x100 times the map: 0 one byte, 1 after 0F, 2 after 0F 38, 3 after 0F 3A. */
  readonly opcode: number;
  /** ModRM.reg, where it belongs to the opcode. */
  readonly extension: number | undefined;
  /** The whole ModRM byte, where it belongs to the opcode. */
  readonly modrm: number | undefined;
  /** Which form of ModRM.rm this row is for. */
  readonly form: 'register' | 'memory' | 'any';
  /** Mandatory prefix: 0x66, 0xf2, 0xf3; 0: none of them may be there; `undefined`: prefixes do not matter. */
  readonly prefix: number | undefined;
  readonly operands: readonly Operand[];
  readonly mnemonic: string;
  /** `RowFlag` bits. */
  readonly flags: number;
  /** Which operation of its family it is. */
  readonly operation: number;
}

/** A row with what carries it out. */
export interface ExecutableRow extends InstructionRow {
  /** Chooses the executor of a decoded instruction. */
  readonly select: (i: Instruction) => Executor;
}

export interface RowOptions {
  readonly extension?: number;
  readonly modrm?: number;
  readonly form?: 'register' | 'memory';
  readonly prefix?: number;
  readonly flags?: number;
  readonly operation?: number;
}

/** Makes a row. Operands as in `Ev,Gv`: kind and width each. */
export function row(
  opcode: number,
  operands: string,
  mnemonic: string,
  select: (i: Instruction) => Executor,
  o: RowOptions = {},
): ExecutableRow {
  const parsed = operands === '' ? [] : operands.split(',').map(parseOperand);
  const implied = parsed.some(({ kind }) => kind === 'M')
    ? 'memory'
    : parsed.some(({ kind }) => kind === 'R')
      ? 'register'
      : 'any';
  const flags = o.flags ?? 0;
  return {
    opcode,
    extension: o.extension,
    modrm: o.modrm,
    form: o.form ?? implied,
    prefix: o.prefix,
    operands: parsed,
    mnemonic,
    flags: (flags & RowFlag.SETS_RIP) !== 0 ? flags | RowFlag.ENDS_BLOCK : flags,
    operation: o.operation ?? 0,
    select,
  };
}

function parseOperand(text: string): Operand {
  return { kind: text[0] as OperandKind, width: (text[1] ?? '') as OperandWidth };
}

/** For rows with one executor. */
export function always(executor: Executor): (i: Instruction) => Executor {
  return () => executor;
}

/** Whether a row needs a ModRM byte. */
export function hasModrm(r: InstructionRow): boolean {
  if (r.extension !== undefined || r.modrm !== undefined) return true;
  return r.operands.some(({ kind }) => 'EGMRW'.includes(kind));
}
