import { describe, expect, it } from 'vitest';
import { bootArea, bootAreaBytes, bootGdt, IMAGE_GPA_FIRST } from '../src/boot-area.ts';

const PRESENT = 1n;
const LARGE = 0x80n;
const ADDRESS = 0x000f_ffff_ffff_f000n;

describe('bootAreaBytes', () => {
  it('maps the first 4 GiB to themselves by 2 MiB pages, and nothing else', () => {
    const read = reader({ memoryBytes: 0x80_0000, commandLine: '' });
    for (let gpa = 0; gpa < 2 ** 32; gpa += 0x20_0000) {
      const pml4e = read(bootArea.pml4 + 8 * Math.floor(gpa / 2 ** 39));
      const pdpte = read(Number(pml4e & ADDRESS) + 8 * (Math.floor(gpa / 2 ** 30) % 512));
      const pde = read(Number(pdpte & ADDRESS) + 8 * (Math.floor(gpa / 2 ** 21) % 512));
      expect([pml4e & PRESENT, pdpte & PRESENT, pde & PRESENT, pde & LARGE]).toEqual([1n, 1n, 1n, LARGE]);
      expect(Number(pde & ADDRESS)).toBe(gpa);
    }
    for (let index = 1; index < 512; index += 1) expect(read(bootArea.pml4 + 8 * index)).toBe(0n);
    for (let index = 4; index < 512; index += 1) expect(read(bootArea.pdpt + 8 * index)).toBe(0n);
  });

  it('holds a null descriptor, 64-bit code at 0x10 and data at 0x18', () => {
    const read = reader({ memoryBytes: 0x80_0000, commandLine: '' });
    expect(read(bootArea.gdt)).toBe(0n);
    expect(read(bootArea.gdt + 0x10)).toBe(0x00af_9b00_0000_ffffn);
    expect(read(bootArea.gdt + 0x18)).toBe(0x00cf_9300_0000_ffffn);
    expect([bootGdt.code, bootGdt.data, bootGdt.limit]).toEqual([0x10, 0x18, 0x1f]);
  });

  it('holds the boot info: size of memory, address of the command line', () => {
    const read = reader({ memoryBytes: 0xc000_0000, commandLine: 'x' });
    expect([read(0x9000), read(0x9008)]).toEqual([0xc000_0000n, BigInt(bootArea.commandLine)]);
  });

  it('ends the command line with a NUL, also an empty one and the longest', () => {
    for (const commandLine of ['', 'test=1 seed=0x2a', 'x'.repeat(4079)]) {
      const bytes = bootAreaBytes({ memoryBytes: 0x80_0000, commandLine });
      const text = bytes.subarray(bootArea.commandLine - bootArea.gdt);
      expect(String.fromCharCode(...text.subarray(0, text.indexOf(0)))).toBe(commandLine);
    }
  });

  it('refuses a command line of 4080 characters', () => {
    expect(() => bootAreaBytes({ memoryBytes: 0x80_0000, commandLine: 'x'.repeat(4080) })).toThrow(
      'machine: load failed: the command line has 4080 characters, more than 4079',
    );
  });

  it.each(['\0', '\n', '\u007f', 'é', '\u{1f600}'])('refuses a command line with %j', (character) => {
    expect(() => bootAreaBytes({ memoryBytes: 0x80_0000, commandLine: `a${character}b` })).toThrow(
      'which is not printable ASCII',
    );
  });

  it('lies in 0x1000..0x9fff, below every image', () => {
    const bytes = bootAreaBytes({ memoryBytes: 0x80_0000, commandLine: '' });
    expect([bootArea.gdt, bootArea.gdt + bytes.length]).toEqual([0x1000, 0xa000]);
    expect(bootArea.end).toBeLessThanOrEqual(IMAGE_GPA_FIRST);
  });
});

function reader(o: { memoryBytes: number; commandLine: string }): (gpa: number) => bigint {
  const view = new DataView(bootAreaBytes(o).buffer);
  return (gpa) => view.getBigUint64(gpa - bootArea.gdt, true);
}
