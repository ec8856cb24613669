import { overlongInstruction, undefinedOpcode } from './execute/interrupts.ts';
import { Attribute, type CodeMode, type Executor, Instruction, NO_SEGMENT, NO_SLOT } from './instruction.ts';
import { baseWord, Segment } from './segments.ts';
import { Slot } from './slot.ts';
import { instructionTable } from './table.ts';
import { hasModrm, type InstructionRow, type Operand, type OperandWidth, RowFlag } from './table-row.ts';

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
  readonly rows: readonly InstructionRow[];
  readonly modrm: boolean;
}

const MAPS = 4;
const ESCAPE = 0x0f;
const ESCAPE_38 = 0x38;
const ESCAPE_3A = 0x3a;
const PREFIX_REPNE = 0xf2;
const PREFIX_REP = 0xf3;
const PREFIX_OPERAND = 0x66;
const NO_OVERRIDE = -1;
const SIB = 4;
const NO_BASE = 5;
const RIP_RELATIVE = 5;
/** Operands whose own width says nothing about the width of the operation. */
const IMMEDIATE_KINDS = 'IJSP1';
const REX_W = 8;
const REX_R = 4;
const REX_X = 2;
const REX_B = 1;

/** Base and index registers of 16-bit addressing, by ModRM.rm. */
const BASE_16 = [Slot.RBX, Slot.RBX, Slot.RBP, Slot.RBP, Slot.RSI, Slot.RDI, Slot.RBP, Slot.RBX];
const INDEX_16 = [Slot.RSI, Slot.RDI, Slot.RSI, Slot.RDI, NO_SLOT, NO_SLOT, NO_SLOT, NO_SLOT];

const entries = buildEntries(instructionTable);

function buildEntries(table: readonly InstructionRow[]): readonly (OpcodeEntry | undefined)[] {
  const built: (OpcodeEntry | undefined)[] = new Array(MAPS * 256).fill(undefined);
  for (const row of table) {
    const entry = built[row.opcode];
    built[row.opcode] = { rows: [...(entry?.rows ?? []), row], modrm: (entry?.modrm ?? false) || hasModrm(row) };
  }
  return built;
}

/** Turns bytes into instructions by the table. Holds the state of one decode; reused, so that it allocates only the result. */
export class Decoder {
  #bytes: Uint8Array = new Uint8Array(0);
  #cursor = 0;
  #limit = 0;
  #isShort = false;
  #mode: CodeMode = 64;
  #override = NO_OVERRIDE;
  #operandPrefix = false;
  #addressPrefix = false;
  #repeat = 0;
  #lock = false;
  #rex = 0;

  /**
   * Decodes one instruction. `undefined`: the bytes that are available end before it does.
   * An opcode that does not exist, or a form that is not allowed, gives an instruction that raises #UD.
   */
  decode(o: DecodeRequest): Instruction | undefined {
    const first = o.base + o.offset;
    this.#reset(o, first);
    const i = new Instruction();
    i.mode = o.mode;
    i.start = o.offset;
    i.run = this.#decodeOpcode(i);
    i.length = this.#cursor - first;
    i.next = i.start + i.length;
    if (this.#isShort) {
      if (o.available < INSTRUCTION_BYTES_MAX) return undefined;
      i.run = overlongInstruction;
      i.attributes |= Attribute.ENDS_BLOCK;
      return i;
    }
    this.#resolveRelative(i);
    i.isSimpleAddress = i.addressWidth === 8 && i.index < 0 && i.segment < 0;
    return i;
  }

  #reset(o: DecodeRequest, first: number): void {
    this.#bytes = o.bytes;
    this.#cursor = first;
    this.#limit = first + Math.min(o.available, INSTRUCTION_BYTES_MAX);
    this.#isShort = false;
    this.#mode = o.mode;
    this.#override = NO_OVERRIDE;
    this.#operandPrefix = false;
    this.#addressPrefix = false;
    this.#repeat = 0;
    this.#lock = false;
    this.#rex = 0;
  }

  #byte(): number {
    if (this.#cursor >= this.#limit) {
      this.#isShort = true;
      return 0;
    }
    return this.#bytes[this.#cursor++];
  }

  #signedByte(): number {
    return (this.#byte() << 24) >> 24;
  }

  #word(): number {
    return this.#byte() | (this.#byte() << 8);
  }

  #doubleword(): number {
    return this.#word() | (this.#word() << 16);
  }

  /** Displacements and relative targets count from the end of the instruction, which is known only now. */
  #resolveRelative(i: Instruction): void {
    if (i.base === Slot.PAGE) {
      const sum = i.displacementLow + i.next;
      i.displacementLow = sum | 0;
      i.displacementHigh = Math.floor(sum / 2 ** 32);
    }
    if (i.row?.operands.some(({ kind }) => kind === 'J')) {
      const sum = i.immediateLow + i.next;
      i.immediateLow = sum | 0;
      i.immediateHigh = Math.floor(sum / 2 ** 32);
    }
  }

  #decodeOpcode(i: Instruction): Executor {
    const entry = this.#entry(this.#opcode(this.#prefixes()), i);
    if (entry === undefined) return this.#undefined(i);
    if (entry.modrm) i.modrm = this.#byte();
    const row = entry.rows.find((candidate) => this.#fits(candidate, i.modrm));
    if (row === undefined || !this.#isAllowed(row, i.modrm)) return this.#undefined(i);
    i.row = row;
    i.operation = row.operation;
    this.#setSizes(i, row);
    this.#setAttributes(i, row);
    if (entry.modrm) this.#decodeModrm(i, row);
    for (const operand of row.operands) this.#decodeOperand(i, operand);
    return this.#isShort ? undefinedOpcode : row.select(i);
  }

  #undefined(i: Instruction): Executor {
    i.attributes |= Attribute.ENDS_BLOCK;
    return undefinedOpcode;
  }

  /** Reads prefixes; returns the first byte that is none. A REX prefix counts only right before the opcode. */
  #prefixes(): number {
    for (;;) {
      const byte = this.#byte();
      if (this.#isShort) return byte;
      if (this.#mode === 64 && (byte & 0xf0) === 0x40) {
        this.#rex = byte;
        const opcode = this.#byte();
        if (!this.#isPrefix(opcode)) return opcode;
        this.#rex = 0;
        this.#cursor--;
        continue;
      }
      if (!this.#isPrefix(byte)) return byte;
      this.#notePrefix(byte);
    }
  }

  #isPrefix(byte: number): boolean {
    if (this.#mode === 64 && (byte & 0xf0) === 0x40) return true;
    switch (byte) {
      case 0x26:
      case 0x2e:
      case 0x36:
      case 0x3e:
      case 0x64:
      case 0x65:
      case 0x66:
      case 0x67:
      case 0xf0:
      case 0xf2:
      case 0xf3:
        return true;
      default:
        return false;
    }
  }

  #notePrefix(byte: number): void {
    switch (byte) {
      case 0x66:
        this.#operandPrefix = true;
        return;
      case 0x67:
        this.#addressPrefix = true;
        return;
      case 0xf0:
        this.#lock = true;
        return;
      case PREFIX_REPNE:
      case PREFIX_REP:
        this.#repeat = byte;
        return;
      case 0x64:
        this.#override = Segment.FS;
        return;
      case 0x65:
        this.#override = Segment.GS;
        return;
      default:
        if (this.#mode !== 64) this.#override = (byte >> 3) & 3;
    }
  }

  #opcode(first: number): number {
    if (first !== ESCAPE) return first;
    const second = this.#byte();
    if (second === ESCAPE_38) return 0x200 | this.#byte();
    if (second === ESCAPE_3A) return 0x300 | this.#byte();
    return 0x100 | second;
  }

  #entry(opcode: number, i: Instruction): OpcodeEntry | undefined {
    i.immediate2 = opcode & 7;
    return entries[opcode];
  }

  #fits(row: InstructionRow, modrm: number): boolean {
    if (row.extension !== undefined && row.extension !== ((modrm >> 3) & 7)) return false;
    if (row.modrm !== undefined && row.modrm !== modrm) return false;
    const isRegister = modrm >= 0xc0;
    if (row.form === 'register' && !isRegister && (row.flags & RowFlag.REGISTER_OPERAND) === 0) return false;
    if (row.form === 'memory' && isRegister) return false;
    if (row.prefix === undefined) return true;
    return row.prefix === this.#mandatoryPrefix();
  }

  #mandatoryPrefix(): number {
    if (this.#repeat !== 0) return this.#repeat;
    return this.#operandPrefix ? PREFIX_OPERAND : 0;
  }

  #isAllowed(row: InstructionRow, modrm: number): boolean {
    if ((row.flags & RowFlag.NOT_IN_64) !== 0 && this.#mode === 64) return false;
    if ((row.flags & RowFlag.ONLY_IN_64) !== 0 && this.#mode !== 64) return false;
    return !this.#lock || ((row.flags & RowFlag.LOCKABLE) !== 0 && modrm < 0xc0);
  }

  #setSizes(i: Instruction, row: InstructionRow): void {
    const small = this.#mode === 16 ? !this.#operandPrefix : this.#operandPrefix;
    let operand = small ? 2 : 4;
    if (this.#mode === 64) {
      if ((this.#rex & REX_W) !== 0 || (row.flags & RowFlag.FORCED_64) !== 0) operand = 8;
      else if (!small && (row.flags & RowFlag.DEFAULT_64) !== 0) operand = 8;
      i.addressWidth = this.#addressPrefix ? 4 : 8;
    } else i.addressWidth = (this.#mode === 16) === this.#addressPrefix ? 4 : 2;
    i.rex = this.#rex;
    i.width = operand;
    for (const { kind, width } of row.operands) {
      if (width === '' || IMMEDIATE_KINDS.includes(kind)) continue;
      i.width = this.#widthOf(width, operand);
      return;
    }
  }

  #widthOf(width: OperandWidth, operand: number): number {
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

  #setAttributes(i: Instruction, row: InstructionRow): void {
    let attributes = 0;
    if ((row.flags & RowFlag.ENDS_BLOCK) !== 0) attributes |= Attribute.ENDS_BLOCK;
    if ((row.flags & RowFlag.SETS_RIP) !== 0) attributes |= Attribute.SETS_RIP;
    if ((row.flags & RowFlag.STACK) !== 0) attributes |= Attribute.STACK;
    if ((row.flags & RowFlag.DELIVERS) !== 0) attributes |= Attribute.DELIVERS;
    if (this.#lock) attributes |= Attribute.LOCK;
    if (this.#repeat === PREFIX_REP) attributes |= Attribute.REP;
    if (this.#repeat === PREFIX_REPNE) attributes |= Attribute.REPNE;
    i.attributes = attributes;
  }

  #decodeModrm(i: Instruction, row: InstructionRow): void {
    if (i.modrm >= 0xc0 || (row.flags & RowFlag.REGISTER_OPERAND) !== 0) return;
    i.attributes |= Attribute.MEMORY;
    i.segmentNumber = Segment.DS;
    if (i.addressWidth === 2) this.#decodeAddress16(i);
    else this.#decodeAddress(i);
    this.#setSegment(i, row);
  }

  #decodeAddress(i: Instruction): void {
    const mod = i.modrm >> 6;
    const rm = i.modrm & 7;
    let base = rm;
    if (rm === SIB) base = this.#decodeSib(i);
    else if (mod === 0 && rm === RIP_RELATIVE) {
      i.base = this.#mode === 64 ? Slot.PAGE : Slot.ZERO;
      this.#setDisplacement(i, this.#doubleword());
      return;
    }
    if (mod === 0 && base === NO_BASE && rm === SIB) {
      this.#setDisplacement(i, this.#doubleword());
      return;
    }
    i.base = 2 * (base | ((this.#rex & REX_B) << 3));
    if (i.base === Slot.RSP || i.base === Slot.RBP) i.segmentNumber = Segment.SS;
    if (mod === 1) this.#setDisplacement(i, this.#signedByte());
    else if (mod === 2) this.#setDisplacement(i, this.#doubleword());
  }

  /** Returns the base field; the base register is set by the caller. */
  #decodeSib(i: Instruction): number {
    const sib = this.#byte();
    const index = ((sib >> 3) & 7) | ((this.#rex & REX_X) << 2);
    if (index !== SIB) {
      i.index = 2 * index;
      i.scale = sib >> 6;
    }
    return sib & 7;
  }

  #decodeAddress16(i: Instruction): void {
    const mod = i.modrm >> 6;
    const rm = i.modrm & 7;
    if (mod === 0 && rm === 6) {
      this.#setDisplacement(i, (this.#word() << 16) >> 16);
      return;
    }
    i.base = BASE_16[rm];
    i.index = INDEX_16[rm];
    if (i.base === Slot.RBP) i.segmentNumber = Segment.SS;
    if (mod === 1) this.#setDisplacement(i, this.#signedByte());
    else if (mod === 2) this.#setDisplacement(i, (this.#word() << 16) >> 16);
  }

  #setDisplacement(i: Instruction, value: number): void {
    i.displacementLow = value;
    i.displacementHigh = value >> 31;
  }

  #setSegment(i: Instruction, row: InstructionRow): void {
    if (this.#override !== NO_OVERRIDE) i.segmentNumber = this.#override;
    if ((row.flags & RowFlag.NO_SEGMENT) !== 0) return;
    const hasBase = this.#mode !== 64 || i.segmentNumber >= Segment.FS;
    i.segment = hasBase ? baseWord(i.segmentNumber) : NO_SEGMENT;
  }

  #decodeOperand(i: Instruction, { kind, width }: Operand): void {
    const bytes = this.#widthOf(width, i.width);
    switch (kind) {
      case 'E':
      case 'R':
      case 'M':
        if ((i.attributes & Attribute.MEMORY) === 0) {
          i.rm = this.#register((i.modrm & 7) | ((this.#rex & REX_B) << 3), bytes);
        }
        return;
      case 'G':
        i.reg = this.#register(((i.modrm >> 3) & 7) | ((this.#rex & REX_R) << 1), bytes);
        return;
      case 'Z':
        i.rm = this.#register(i.immediate2 | ((this.#rex & REX_B) << 3), bytes);
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
        this.#setStringSegments(i);
        return;
      case 'O':
        this.#decodeOffset(i);
        return;
      case 'C':
      case 'D':
        return;
      default:
        this.#decodeImmediate(i, kind, width);
    }
  }

  /** Index of a register in the view of its width: words, halfwords, bytes. */
  #register(number: number, bytes: number): number {
    if (bytes >= 4) return 2 * number;
    if (bytes === 2) return 4 * number;
    if (number >= 4 && number < 8 && this.#rex === 0) return 8 * (number - 4) + 1;
    return 8 * number;
  }

  /** [rSI] has a segment that can be overridden, [rDI] is always in ES: its base word goes to `immediate2`. */
  #setStringSegments(i: Instruction): void {
    i.segmentNumber = this.#override === NO_OVERRIDE ? Segment.DS : this.#override;
    const hasBase = this.#mode !== 64 || i.segmentNumber >= Segment.FS;
    i.segment = hasBase ? baseWord(i.segmentNumber) : NO_SEGMENT;
    i.immediate2 = this.#mode === 64 ? NO_SEGMENT : baseWord(Segment.ES);
  }

  #decodeOffset(i: Instruction): void {
    i.attributes |= Attribute.MEMORY;
    i.segmentNumber = Segment.DS;
    if (i.addressWidth === 2) i.displacementLow = this.#word();
    else i.displacementLow = this.#doubleword();
    i.displacementHigh = i.addressWidth === 8 ? this.#doubleword() : 0;
    if (this.#override !== NO_OVERRIDE) i.segmentNumber = this.#override;
    const hasBase = this.#mode !== 64 || i.segmentNumber >= Segment.FS;
    i.segment = hasBase ? baseWord(i.segmentNumber) : NO_SEGMENT;
  }

  #decodeImmediate(i: Instruction, kind: string, width: OperandWidth): void {
    switch (kind) {
      case '1':
        i.immediateLow = 1;
        return;
      case 'S':
        this.#setImmediate(i, this.#signedByte());
        return;
      case 'J':
        this.#setImmediate(i, width === 'b' ? this.#signedByte() : this.#immediateOf(i.width === 2 ? 2 : 4));
        return;
      case 'P':
        this.#setImmediate(i, this.#immediateOf(i.width));
        i.immediate2 = this.#word();
        return;
      default:
        this.#decodePlainImmediate(i, width);
    }
  }

  /** A second byte immediate (ENTER) goes to `immediate2`. */
  #decodePlainImmediate(i: Instruction, width: OperandWidth): void {
    if (width === 'b') {
      const byte = this.#byte();
      if (i.row?.mnemonic === 'enter') i.immediate2 = byte;
      else this.#setImmediate(i, byte);
    } else if (width === 'w') this.#setImmediate(i, this.#word());
    else if (width === 'v' && i.width === 8) {
      i.immediateLow = this.#doubleword();
      i.immediateHigh = this.#doubleword();
    } else this.#setImmediate(i, this.#immediateOf(i.width));
  }

  #immediateOf(width: number): number {
    if (width === 1) return this.#signedByte();
    return width === 2 ? (this.#word() << 16) >> 16 : this.#doubleword();
  }

  #setImmediate(i: Instruction, value: number): void {
    i.immediateLow = value;
    i.immediateHigh = value >> 31;
  }
}
