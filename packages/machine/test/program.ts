import { elf } from './elf-builder.ts';

/** Bytes of x86-64 instructions, for images of a few lines. Ports and values go through EDX and EAX. */
export const code = {
  out8: (port: number, value: number): number[] => [...movEdx(port), 0xb0, value, 0xee],
  out32: (port: number, value: number): number[] => [...movEdx(port), 0xb8, ...u32(value), 0xef],
  /** OUT of AL, or of EAX as it is. */
  outAl: (port: number): number[] => [...movEdx(port), 0xee],
  outEax: (port: number): number[] => [...movEdx(port), 0xef],
  inAl: (port: number): number[] => [...movEdx(port), 0xec],
  inEax: (port: number): number[] => [...movEdx(port), 0xed],
  /** mov rax, [rdi + offset] */
  loadFromRdi: (offset: number): number[] => [0x48, 0x8b, 0x47, offset],
  /** movzx eax, byte [rax] */
  loadByteAtRax: [0x0f, 0xb6, 0x00],
  /** mov eax, [address] through RBX */
  load32: (address: number): number[] => [0xbb, ...u32(address), 0x8b, 0x03],
  /** mov dword [address], value through RBX */
  store32: (address: number, value: number): number[] => [0xbb, ...u32(address), 0xc7, 0x03, ...u32(value)],
  movEaxCs: [0x8c, 0xc8],
  movEaxDs: [0x8c, 0xd8],
  movEaxEsp: [0x89, 0xe0],
  wrmsr: (index: number, low: number, high = 0): number[] => [
    0xb9,
    ...u32(index),
    0xb8,
    ...u32(low),
    ...movEdx(high),
    0x0f,
    0x30,
  ],
  rdmsr: (index: number): number[] => [0xb9, ...u32(index), 0x0f, 0x32],
  halt: [0xf4],
  /** jmp to itself */
  spin: [0xeb, 0xfe],
  exit: (value: number): number[] => [...code.out32(0xf4, value), 0xf4],
} as const;

/** A page of instructions at 1 MiB that the machine enters at its first byte. */
export function program(...instructions: (readonly number[])[]): Uint8Array {
  const bytes = Uint8Array.from(instructions.flat());
  return elf({ segments: [{ gpa: 0x10_0000, bytes, memoryBytes: 0x2000 }] });
}

/** Sends text to the serial port. */
export function print(text: string): number[] {
  return [...text].flatMap((character) => code.out8(0x3f8, character.charCodeAt(0)));
}

/** Reports EAX under an index; EAX passes through R8D. */
export function report(index: number): number[] {
  return [0x41, 0x89, 0xc0, ...code.out32(0x5e4, index), 0x44, 0x89, 0xc0, ...code.outEax(0x5e4)];
}

function movEdx(value: number): number[] {
  return [0xba, ...u32(value)];
}

function u32(value: number): number[] {
  return [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24];
}
