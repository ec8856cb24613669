/**
 * Word indices of the register file: Int32 pairs, low word first, in `HostMemory.scratch`.
 * Generated code reads and writes the same words, so an index is part of the interface between the two.
 * A const enum, because the bundler turns it into literals.
 */
export const enum Slot {
  RAX = 0,
  RCX = 2,
  RDX = 4,
  RBX = 6,
  RSP = 8,
  RBP = 10,
  RSI = 12,
  RDI = 14,
  R11 = 22,
  RIP = 32,
  /** The RIP that corresponds to byte 0 of the page that is executed; instructions know their offset in that page. */
  PAGE = 34,
  /** Always zero: the base register of an address that has none. */
  ZERO = 36,
  /** An operand that comes from memory. */
  OPERAND = 38,
  /** High word of the last 64-bit result; the low word is returned. */
  HIGH = 40,
  /** High word of the last effective address; the low word is returned. */
  ADDRESS_HIGH = 41,
  /** Bits of RFLAGS that no arithmetic instruction writes, in place: TF, IF, DF, IOPL, NT, RF, VM, AC, VIF, VIP, ID. */
  SYSTEM_FLAGS = 42,
  /** ZF is set when this word is 0. */
  ZERO_TEST = 43,
  /** SF is bit 31 of this word. */
  SIGN = 44,
  /** PF is the even parity of the low byte of this word. */
  PARITY = 45,
  /** Carries out of the most significant bits: bit 31 is CF, bit 30 differs from it when OF is set. */
  CARRIES = 46,
  /** AF is bit 4 of this word. */
  ADJUST = 47,
  /** Host-physical address that a read-modify-write in progress will store to, or `NO_DIRECT_ADDRESS`. */
  UPDATE = 48,
  /** Linear address of the same, for a store that cannot go directly. */
  UPDATE_LOW = 49,
  UPDATE_HIGH = 50,
  COUNT = 64,
}

/** In `Slot.UPDATE`: the store has to take the slow way (crosses a page, is not aligned, is not plain memory). */
export const NO_DIRECT_ADDRESS = -1;

/** Names of the general registers in the order of their numbers. */
export const registerNames = [
  'rax',
  'rcx',
  'rdx',
  'rbx',
  'rsp',
  'rbp',
  'rsi',
  'rdi',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
] as const;
