import { describe, expect, it } from 'vitest';
import { Decoder } from '../src/decode/decoder.ts';
import { type InstructionRow, instructionTable, isInstruction, RowFlag } from '../src/index.ts';
import { Attribute, type CodeMode, type Instruction } from '../src/instruction.ts';
import { parseHex } from './guest.ts';

const decoder = new Decoder();

function decode(code: string | Uint8Array, mode: CodeMode = 64): Instruction | undefined {
  const bytes = typeof code === 'string' ? parseHex(code) : code;
  return decoder.decode({ bytes, base: 0, offset: 0, available: bytes.length, mode });
}

describe('length and operand width follow the mode', () => {
  it.each([
    [16, 'mov eax, imm32', '66b878563412', 4],
    [16, 'mov ax, imm16', 'b83412', 2],
    [16, 'add [bx+si+0x10], cx', '014810', 2],
    [16, 'mov eax, [ebx+ecx*4+0x1000]', '67668b848b00100000', 4],
    [16, 'push imm16', '683412', 2],
    [16, 'inc eax', '6640', 4],
    [16, 'dec si', '4e', 2],
    [16, 'mov al, [0x1234]', 'a03412', 1],
    [16, 'call rel16', 'e8fd0f', 2],
    [16, 'movzx eax, word [bp-4]', '660fb746fc', 4],
    [16, 'lgdt [0x1000]', '0f01160010', 2],
    [32, 'mov eax, imm32', 'b878563412', 4],
    [32, 'mov ax, imm16', '66b83412', 2],
    [32, 'add [bx+si+0x10], ecx', '67014810', 4],
    [32, 'mov eax, [ebx+ecx*4+0x1000]', '8b848b00100000', 4],
    [32, 'push imm32', '6834120000', 4],
    [32, 'inc eax', '40', 4],
    [32, 'mov al, [0x1234]', 'a034120000', 1],
    [32, 'call rel32', 'e8fb0f0000', 4],
    [32, 'movsd', 'a5', 4],
    [64, 'push imm32', '6834120000', 8],
    [64, 'push ax', '6650', 2],
    [64, 'mov rax, imm64', '48b8f0debc9a78563412', 8],
    [64, 'mov al, [moffs64]', 'a0f0debc9a78563412', 1],
    [64, 'call rel32 under 66', '66e8fb0f0000', 8],
    [64, 'mov eax, [eax]', '678b00', 4],
    [64, 'the last REX counts', '40 48 01d8', 8],
    [64, 'a REX before another prefix does not count', '48 66 01d8', 2],
  ] as const)('%i bits: %s', (mode, _, code, width) => {
    const i = decode(code, mode);
    expect([i?.length, i?.width]).toEqual([code.replace(/ /g, '').length / 2, width]);
    expect(i?.row).toBeDefined();
  });
});

describe('addresses', () => {
  it.each([
    ['[rax]', '8b00', { base: 0, index: -1, displacement: 0 }],
    ['[rsp]', '8b0424', { base: 8, index: -1, displacement: 0 }],
    ['[r12]', '418b0424', { base: 24, index: -1, displacement: 0 }],
    ['[r13+0]', '418b4500', { base: 26, index: -1, displacement: 0 }],
    ['[rbp+rax*2-1]', '8b4445ff', { base: 10, index: 0, displacement: -1 }],
    ['[r12*8+0x1000]', '428b04e500100000', { base: 36, index: 24, displacement: 0x1000 }],
    ['[disp32]', '8b042500100000', { base: 36, index: -1, displacement: 0x1000 }],
    ['[rip+0x10]', '8b0510000000', { base: 34, index: -1, displacement: 0x16 }],
  ])('%s', (_, code, o) => {
    const i = decode(code);
    expect({ base: i?.base, index: i?.index, displacement: i?.displacementLow }).toEqual(o);
  });

  it.each([
    ['[rbx] is in DS', '8b03', 3],
    ['[rbp] is in SS', '8b4500', 2],
    ['[rsp] is in SS', '8b0424', 2],
    ['[rax+rbp] is in DS', '8b0428', 3],
    ['an override of DS does not count in 64-bit mode', '3e8b4500', 2],
    ['FS overrides', '648b4500', 4],
  ])('%s', (_, code, segment) => {
    expect(decode(code)?.segmentNumber).toBe(segment);
  });
});

describe('bytes that end too early', () => {
  it('every proper prefix of an instruction is not an instruction', () => {
    const whole = parseHex('f0 66 42 81 84 c8 78563412 3412');
    for (let length = 1; length < whole.length; length++) expect(decode(whole.subarray(0, length))).toBeUndefined();
    expect(decode(whole)?.length).toBe(whole.length);
  });
});

/** Bytes of a row: mandatory prefix, opcode, a ModRM byte that fits, zeros for the rest. */
function encode(row: InstructionRow): Uint8Array {
  const bytes: number[] = [];
  if (row.prefix !== undefined && row.prefix !== 0) bytes.push(row.prefix);
  if (row.opcode >= 0x100) bytes.push(0x0f);
  if (row.opcode >= 0x200) bytes.push(row.opcode >= 0x300 ? 0x3a : 0x38);
  bytes.push(row.opcode & 0xff);
  const mode = row.form === 'memory' ? 0 : 0xc0;
  if (row.modrm !== undefined) bytes.push(row.modrm);
  else bytes.push(mode | ((row.extension ?? 0) << 3));
  return Uint8Array.from([...bytes, ...new Array(12).fill(0)]);
}

describe('the instruction table', () => {
  it('each row is reached by its own bytes: none hides another', () => {
    for (const row of instructionTable) {
      const mode = (row.flags & RowFlag.NOT_IN_64) !== 0 ? 32 : 64;
      expect(decode(encode(row), mode)?.row, `${row.mnemonic} ${row.opcode.toString(16)}`).toBe(row);
    }
  });

  it('LOCK is allowed exactly on lockable rows with memory', () => {
    for (const row of instructionTable) {
      if (row.form === 'register' || row.modrm !== undefined || row.operands[0]?.kind === 'M') continue;
      const mode = (row.flags & RowFlag.NOT_IN_64) !== 0 ? 32 : 64;
      const bytes = encode(row);
      const at = bytes.findIndex((_, n) => n > 0 && bytes[n - 1] === (row.opcode & 0xff));
      bytes[at] &= 0x3f;
      const locked = decode(Uint8Array.from([0xf0, ...bytes]), mode);
      const isLockable = (row.flags & RowFlag.LOCKABLE) !== 0;
      expect([row.mnemonic, locked?.row !== undefined]).toEqual([row.mnemonic, isLockable]);
      if (isLockable) expect((locked?.attributes ?? 0) & Attribute.LOCK).toBe(Attribute.LOCK);
    }
  });

  it('an opcode without row raises #UD and ends its block', () => {
    const known = new Set(instructionTable.map(({ opcode }) => opcode));
    const prefixes = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x0f];
    for (let opcode = 0; opcode < 0x200; opcode++) {
      if (known.has(opcode) || prefixes.includes(opcode) || opcode === 0x138 || opcode === 0x13a) continue;
      if ((opcode & 0xff0) === 0x40) continue;
      const bytes = opcode < 0x100 ? [opcode] : [0x0f, opcode & 0xff];
      const i = decode(Uint8Array.from([...bytes, ...new Array(14).fill(0xc0)]));
      expect([opcode, i?.row]).toEqual([opcode, undefined]);
      expect((i?.attributes ?? 0) & Attribute.ENDS_BLOCK).toBe(Attribute.ENDS_BLOCK);
    }
  });
});

describe('isInstruction', () => {
  it.each([
    ['90', true],
    ['0f0b', true],
    ['0f04', false],
    ['0f01c1', true],
    ['660f3880', false],
    ['f00f0b', false],
    ['48', false],
  ])('%s: %s', (hex, expected) => {
    expect(isInstruction(Uint8Array.from(Buffer.from(hex, 'hex')), { mode: 64 })).toBe(expected);
  });

  it('an opcode of legacy modes only is none in 64-bit mode', () => {
    const pusha = Uint8Array.of(0x06, 0x90);
    expect(isInstruction(pusha, { mode: 64 })).toBe(false);
  });
});
