import { overlongInstruction, undefinedOpcode } from '../execute/interrupts.ts';
import { Attribute, type CodeMode, type Executor, Instruction } from '../instruction.ts';
import { Slot } from '../slot.ts';
import { executableTable } from '../table.ts';
import { type ExecutableRow, hasModrm, type Operand, type OperandWidth, RowFlag } from '../table-row.ts';
import { ByteCursor } from './byte-cursor.ts';
import { decodeModrmAddress, decodeOffset, setSegment, setStringSegments } from './memory-operand.ts';
import { PREFIX_REP, PREFIX_REPNE, Prefixes, Rex } from './prefixes.ts';

export const INSTRUCTION_BYTES_MAX = 15;

export interface DecodeRequest {
  readonly bytes: Uint8Array;
  /** `bytes[base + offset]` is the first byte of the instruction. */
  readonly base: number;
  /** Offset of the instruction in its page. */
  readonly offset: number;
  /** Bytes that may be read from there on. */
  readonly available: number;
  readonly mode: CodeMode;
}

/** Rows of one opcode, in the order in which they are tried. */
interface OpcodeEntry {
  readonly rows: readonly ExecutableRow[];
  readonly modrm: boolean;
}

const MAPS = 4;
const ESCAPE = 0x0f;
const ESCAPE_38 = 0x38;
const ESCAPE_3A = 0x3a;
const REGISTER_MODRM = 0xc0;
/** Operands whose own width says nothing about the width of the operation. */
const IMMEDIATE_KINDS = 'IJSP12';

const entries = buildEntries(executableTable);

function buildEntries(table: readonly ExecutableRow[]): readonly (OpcodeEntry | undefined)[] {
  const built: (OpcodeEntry | undefined)[] = new Array(MAPS * 256).fill(undefined);
  for (const row of table) {
    const entry = built[row.opcode];
    built[row.opcode] = { rows: [...(entry?.rows ?? []), row], modrm: (entry?.modrm ?? false) || hasModrm(row) };
  }
  return built;
}

/**
 * Whether the processor has an instruction that begins these bytes. False says #UD for the opcode itself; true promises
 * no more than a row of the table, which may raise #UD by its own rules (UD2 does).
 */
export function isInstruction(bytes: Uint8Array, o: { readonly mode: CodeMode }): boolean {
  const i = new Decoder().decode({ bytes, base: 0, offset: 0, available: bytes.length, mode: o.mode });
  return i?.row !== undefined;
}

/** Turns bytes into instructions by the table. Holds the state of one decode; reused, so that it allocates only the result. */
export class Decoder {
  readonly #cursor = new ByteCursor();
  readonly #prefixes = new Prefixes();

  /**
   * Decodes one instruction. `undefined`: the bytes that are available end before it does.
   * An opcode that does not exist, or a form that is not allowed, gives an instruction that raises #UD.
   */
  decode(o: DecodeRequest): Instruction | undefined {
    const first = o.base + o.offset;
    this.#cursor.reset(o.bytes, first, Math.min(o.available, INSTRUCTION_BYTES_MAX));
    const i = new Instruction();
    i.mode = o.mode;
    i.start = o.offset;
    i.run = this.#decodeOpcode(i);
    i.length = this.#cursor.position - first;
    i.next = i.start + i.length;
    if (this.#cursor.isShort) {
      if (o.available < INSTRUCTION_BYTES_MAX) return undefined;
      i.run = overlongInstruction;
      i.attributes |= Attribute.ENDS_BLOCK;
      return i;
    }
    resolveRelative(i);
    i.isSimpleAddress = i.addressWidth === 8 && i.index < 0 && i.segment < 0;
    return i;
  }

  #decodeOpcode(i: Instruction): Executor {
    const opcode = this.#opcode(this.#prefixes.read(this.#cursor, i.mode));
    const entry = entries[opcode];
    if (entry === undefined) return asUndefined(i);
    if (entry.modrm) i.modrm = this.#cursor.byte();
    const row = entry.rows.find((candidate) => this.#fits(candidate, i.modrm));
    if (row === undefined || !this.#isAllowed(row, i)) return asUndefined(i);
    i.row = row;
    i.operation = row.operation;
    this.#setWidths(i, row);
    this.#setAttributes(i, row);
    const isMemory = entry.modrm && i.modrm < REGISTER_MODRM && (row.flags & RowFlag.REGISTER_OPERAND) === 0;
    if (isMemory) {
      decodeModrmAddress(i, this.#cursor, this.#prefixes);
      if ((row.flags & RowFlag.NO_SEGMENT) === 0) setSegment(i, this.#prefixes);
    }
    for (const operand of row.operands) this.#decodeOperand(i, operand, opcode);
    return this.#cursor.isShort ? undefinedOpcode : row.select(i);
  }

  /** Opcode with its map, as rows name it. */
  #opcode(first: number): number {
    if (first !== ESCAPE) return first;
    const second = this.#cursor.byte();
    if (second === ESCAPE_38) return 0x200 | this.#cursor.byte();
    if (second === ESCAPE_3A) return 0x300 | this.#cursor.byte();
    return 0x100 | second;
  }

  #fits(row: ExecutableRow, modrm: number): boolean {
    if (row.extension !== undefined && row.extension !== ((modrm >> 3) & 7)) return false;
    if (row.modrm !== undefined && row.modrm !== modrm) return false;
    const isRegister = modrm >= REGISTER_MODRM;
    if (row.form === 'register' && !isRegister && (row.flags & RowFlag.REGISTER_OPERAND) === 0) return false;
    if (row.form === 'memory' && isRegister) return false;
    return row.prefix === undefined || row.prefix === this.#prefixes.mandatory;
  }

  #isAllowed(row: ExecutableRow, i: Instruction): boolean {
    if ((row.flags & RowFlag.NOT_IN_64) !== 0 && i.mode === 64) return false;
    if ((row.flags & RowFlag.ONLY_IN_64) !== 0 && i.mode !== 64) return false;
    return !this.#prefixes.lock || ((row.flags & RowFlag.LOCKABLE) !== 0 && i.modrm < REGISTER_MODRM);
  }

  #setWidths(i: Instruction, row: ExecutableRow): void {
    const { operandSize, addressSize, rex } = this.#prefixes;
    const isSmall = i.mode === 16 ? !operandSize : operandSize;
    let operand = isSmall ? 2 : 4;
    if (i.mode === 64) {
      if ((rex & Rex.W) !== 0 || (row.flags & RowFlag.FORCED_64) !== 0) operand = 8;
      else if (!isSmall && (row.flags & RowFlag.DEFAULT_64) !== 0) operand = 8;
      i.addressWidth = addressSize ? 4 : 8;
    } else i.addressWidth = (i.mode === 16) === addressSize ? 4 : 2;
    i.rex = rex;
    const first = row.operands.find(({ kind, width }) => width !== '' && !IMMEDIATE_KINDS.includes(kind));
    i.width = first === undefined ? operand : widthOf(first.width, operand);
  }

  #setAttributes(i: Instruction, row: ExecutableRow): void {
    const { lock, repeat } = this.#prefixes;
    let attributes = 0;
    if ((row.flags & RowFlag.ENDS_BLOCK) !== 0) attributes |= Attribute.ENDS_BLOCK;
    if ((row.flags & RowFlag.SETS_RIP) !== 0) attributes |= Attribute.SETS_RIP;
    if ((row.flags & RowFlag.STACK) !== 0) attributes |= Attribute.STACK;
    if ((row.flags & RowFlag.DELIVERS) !== 0) attributes |= Attribute.DELIVERS;
    if (lock) attributes |= Attribute.LOCK;
    if (repeat === PREFIX_REP) attributes |= Attribute.REP;
    if (repeat === PREFIX_REPNE) attributes |= Attribute.REPNE;
    i.attributes = attributes;
  }

  #decodeOperand(i: Instruction, { kind, width }: Operand, opcode: number): void {
    const { rex } = this.#prefixes;
    const bytes = widthOf(width, i.width);
    switch (kind) {
      case 'E':
      case 'R':
      case 'M':
        if ((i.attributes & Attribute.MEMORY) === 0) i.rm = indexOf((i.modrm & 7) | ((rex & Rex.B) << 3), bytes, rex);
        return;
      case 'G':
        i.reg = indexOf(((i.modrm >> 3) & 7) | ((rex & Rex.R) << 1), bytes, rex);
        return;
      case 'Z':
        i.rm = indexOf((opcode & 7) | ((rex & Rex.B) << 3), bytes, rex);
        return;
      case 'A':
        i.rm = 0;
        return;
      case 'a':
        i.reg = 0;
        return;
      case 'W':
        i.operation = (i.modrm >> 3) & 7;
        return;
      case 'X':
      case 'Y':
        setStringSegments(i, this.#prefixes);
        return;
      case 'O':
        decodeOffset(i, this.#cursor);
        setSegment(i, this.#prefixes);
        return;
      case 'C':
      case 'D':
        return;
      default:
        this.#decodeImmediate(i, kind, width);
    }
  }

  #decodeImmediate(i: Instruction, kind: string, width: OperandWidth): void {
    const cursor = this.#cursor;
    switch (kind) {
      case '1':
        i.immediateLow = 1;
        return;
      case 'S':
        setImmediate(i, cursor.signedByte());
        return;
      case 'J':
        setImmediate(i, width === 'b' ? cursor.signedByte() : this.#immediateOf(i.width));
        return;
      case 'P':
        setImmediate(i, this.#immediateOf(i.width));
        i.immediate2 = cursor.word();
        return;
      case '2':
        i.immediate2 = cursor.byte();
        return;
      default:
        this.#decodePlainImmediate(i, width);
    }
  }

  #decodePlainImmediate(i: Instruction, width: OperandWidth): void {
    if (width === 'b') setImmediate(i, this.#cursor.byte());
    else if (width === 'w') setImmediate(i, this.#cursor.word());
    else if (width === 'v' && i.width === 8) {
      i.immediateLow = this.#cursor.doubleword();
      i.immediateHigh = this.#cursor.doubleword();
    } else setImmediate(i, this.#immediateOf(i.width));
  }

  /** An immediate of the operand width, at most 32 bits, sign-extended. */
  #immediateOf(width: number): number {
    if (width === 1) return this.#cursor.signedByte();
    return width === 2 ? this.#cursor.signedWord() : this.#cursor.doubleword();
  }
}

function asUndefined(i: Instruction): Executor {
  i.attributes |= Attribute.ENDS_BLOCK;
  return undefinedOpcode;
}

/** Displacements and relative targets count from the end of the instruction, which is known only when it is decoded. */
function resolveRelative(i: Instruction): void {
  if (i.base === Slot.PAGE) {
    const sum = i.displacementLow + i.next;
    i.displacementLow = sum | 0;
    i.displacementHigh = Math.floor(sum / 2 ** 32);
  }
  if (i.row?.operands.some(({ kind }) => kind === 'J')) {
    const sum = i.immediateLow + i.next;
    setImmediate(i, sum | 0);
    i.immediateHigh = Math.floor(sum / 2 ** 32);
  }
}

function widthOf(width: OperandWidth, operand: number): number {
  switch (width) {
    case 'b':
      return 1;
    case 'w':
      return 2;
    case 'd':
      return 4;
    case 'q':
      return 8;
    case 'y':
      return operand === 8 ? 8 : 4;
    case 'z':
      return Math.min(operand, 4);
    default:
      return operand;
  }
}

/** Index of a register in the view of its width: words, halfwords, bytes. */
function indexOf(number: number, bytes: number, rex: number): number {
  if (bytes >= 4) return 2 * number;
  if (bytes === 2) return 4 * number;
  if (number >= 4 && number < 8 && rex === 0) return 8 * (number - 4) + 1;
  return 8 * number;
}

function setImmediate(i: Instruction, value: number): void {
  i.immediateLow = value;
  i.immediateHigh = value >> 31;
}
