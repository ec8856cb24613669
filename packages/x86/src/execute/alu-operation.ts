/** Two-operand arithmetic, numbered as bits 5:3 of the opcode; TEST has none and follows. */
export const enum Alu {
  ADD = 0,
  OR = 1,
  ADC = 2,
  SBB = 3,
  AND = 4,
  SUB = 5,
  XOR = 6,
  CMP = 7,
  TEST = 8,
}
