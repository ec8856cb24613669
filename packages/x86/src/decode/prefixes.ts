import type { CodeMode } from '../instruction.ts';
import { Segment } from '../segments.ts';
import type { ByteCursor } from './byte-cursor.ts';

export const PREFIX_OPERAND = 0x66;
export const PREFIX_REPNE = 0xf2;
export const PREFIX_REP = 0xf3;
/** No segment override. */
export const NO_OVERRIDE = -1;

const REX_MASK = 0xf0;
const REX = 0x40;

export const enum Rex {
  W = 8,
  R = 4,
  X = 2,
  B = 1,
}

/** The prefixes of one instruction. */
export class Prefixes {
  override = NO_OVERRIDE;
  operandSize = false;
  addressSize = false;
  /** `PREFIX_REP`, `PREFIX_REPNE` or 0: the last one counts. */
  repeat = 0;
  lock = false;
  /** The REX byte, 0: none. */
  rex = 0;
  #mode: CodeMode = 64;

  /** Reads all prefixes; returns the first byte that is none. A REX prefix counts only right before the opcode. */
  read(cursor: ByteCursor, mode: CodeMode): number {
    this.#reset(mode);
    for (;;) {
      const byte = cursor.byte();
      if (cursor.isShort) return byte;
      if (this.#isRex(byte)) this.rex = byte;
      else if (!this.#note(byte)) return byte;
      else this.rex = 0;
    }
  }

  /** The prefix that may belong to the opcode: REP and REPNE go before 66h. */
  get mandatory(): number {
    if (this.repeat !== 0) return this.repeat;
    return this.operandSize ? PREFIX_OPERAND : 0;
  }

  #reset(mode: CodeMode): void {
    this.#mode = mode;
    this.override = NO_OVERRIDE;
    this.operandSize = false;
    this.addressSize = false;
    this.repeat = 0;
    this.lock = false;
    this.rex = 0;
  }

  #isRex(byte: number): boolean {
    return this.#mode === 64 && (byte & REX_MASK) === REX;
  }

  /** False: the byte is no prefix. In 64-bit mode ES, CS, SS and DS overrides are read and do nothing. */
  #note(byte: number): boolean {
    switch (byte) {
      case PREFIX_OPERAND:
        this.operandSize = true;
        return true;
      case 0x67:
        this.addressSize = true;
        return true;
      case 0xf0:
        this.lock = true;
        return true;
      case PREFIX_REPNE:
      case PREFIX_REP:
        this.repeat = byte;
        return true;
      case 0x64:
        this.override = Segment.FS;
        return true;
      case 0x65:
        this.override = Segment.GS;
        return true;
      case 0x26:
      case 0x2e:
      case 0x36:
      case 0x3e:
        if (this.#mode !== 64) this.override = (byte >> 3) & 3;
        return true;
      default:
        return false;
    }
  }
}
