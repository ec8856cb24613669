import { OperatingError } from '@nvmx/guest-memory';
import { describe, expect, it } from 'vitest';
import { parseElf } from '../src/index.ts';
import { type ElfPlan, elf, goodSegment } from './elf-builder.ts';

const bounds = { gpaFirst: 0x10_0000, gpaEnd: 0x40_0000 };
const code = Uint8Array.of(1, 2, 3);

describe('parseElf', () => {
  it('gives entry and segments where the physical addresses say', () => {
    const image = elf({
      entry: 0x10_0002,
      segments: [
        { gpa: 0x10_0000, bytes: code },
        { gpa: 0x20_0000, bytes: Uint8Array.of(9), memoryBytes: 0x5000 },
      ],
    });
    expect(parseElf(image, bounds)).toEqual({
      entry: 0x10_0002,
      segments: [
        { gpa: 0x10_0000, bytes: code, memoryBytes: 3 },
        { gpa: 0x20_0000, bytes: Uint8Array.of(9), memoryBytes: 0x5000 },
      ],
    });
  });

  it('reads an image that starts in the middle of its buffer', () => {
    const image = elf();
    const buffer = new Uint8Array(image.length + 7);
    buffer.set(image, 7);
    expect(parseElf(buffer.subarray(7), bounds)).toEqual(parseElf(image, bounds));
  });

  it('passes over program headers that load nothing', () => {
    const stack = { gpa: 0, bytes: new Uint8Array(0), type: 0x6474_e551 };
    const empty = { gpa: 0, bytes: new Uint8Array(0) };
    expect(parseElf(elf({ entry: 0x10_0000, segments: [stack, empty, goodSegment()] }), bounds).segments).toHaveLength(
      1,
    );
  });

  it('takes a segment of zeros only, and one that ends at the end of memory', () => {
    const zeros = { gpa: 0x3f_f000, bytes: new Uint8Array(0), memoryBytes: 0x1000 };
    expect(parseElf(elf({ segments: [goodSegment(), zeros] }), bounds).segments).toHaveLength(2);
  });

  it('takes a segment of a single zero, in a file that ends with its program headers', () => {
    const zero = { gpa: 0x10_0000, bytes: new Uint8Array(0), memoryBytes: 1 };
    expect(parseElf(elf({ segments: [zero] }), bounds).segments).toEqual([zero]);
  });

  it('takes segments that touch, in any order', () => {
    const segments = [
      { gpa: 0x10_0003, bytes: code },
      { gpa: 0x10_0000, bytes: code },
    ];
    expect(parseElf(elf({ segments }), bounds).segments).toHaveLength(2);
  });

  it('takes an entry at the first and at the last byte of a segment', () => {
    for (const entry of [0x10_0000, 0x10_0002]) {
      expect(parseElf(elf({ entry, segments: [goodSegment(code)] }), bounds).entry).toBe(entry);
    }
  });
});

describe('parseElf refuses with ENOEXEC and one sentence', () => {
  const good = goodSegment(code);
  const cases: [string, ElfPlan, string][] = [
    ['a 32-bit file', { class: 1 }, 'it is a 32-bit ELF file, not a 64-bit one'],
    ['a big-endian file', { data: 2 }, 'it is big-endian'],
    ['an unknown ELF version', { version: 2 }, 'its ELF version is 2, not 1'],
    ['another machine', { machine: 183 }, 'it is for ELF machine 183, not for x86-64'],
    ['a position-independent file', { type: 3 }, 'it is position-independent; link it with -static -no-pie'],
    ['an object file', { type: 1 }, 'it is no executable (ELF type 1)'],
    ['a core dump', { type: 4 }, 'it is no executable (ELF type 4)'],
    ['no program headers', { programHeaderCount: 0 }, 'it has no program headers'],
    ['too many program headers', { programHeaderCount: 0xffff }, 'it has too many program headers'],
    ['program headers of another size', { programHeaderBytes: 32 }, 'its program headers have 32 bytes, not 56'],
    ['program headers past the file', { programHeaderCount: 9 }, 'its program headers lie outside the file'],
    [
      'program headers at the end of the address space',
      { programHeaderOffset: 0xffff_ffff_ffff_fff0n },
      'its program headers lie outside the file',
    ],
    ['a file that wants a dynamic linker', { segments: [good, { ...good, type: 3 }] }, 'it needs a dynamic linker'],
    ['nothing to load', { segments: [{ ...good, type: 4 }] }, 'it has no segment to load'],
    [
      'a segment larger in the file than in memory',
      { segments: [{ ...good, memoryBytes: 2 }] },
      'the segment at 0x100000 is larger in the file (3 bytes) than in memory (2)',
    ],
    [
      'a segment with a byte in the file and none in memory',
      { segments: [{ ...goodSegment(), memoryBytes: 0 }] },
      'the segment at 0x100000 is larger in the file (1 bytes) than in memory (0)',
    ],
    [
      'a segment that ends one byte past the file',
      { segments: [{ ...good, fileBytes: 4, memoryBytes: 4 }] },
      'the segment at 0x100000 ends beyond the file',
    ],
    [
      'a segment that starts past the file',
      { segments: [{ ...good, offset: 0xffff_ffff_ffff_ffffn }] },
      'the segment at 0x100000 ends beyond the file',
    ],
    [
      'a segment one byte below the first address',
      { segments: [{ ...good, gpa: 0xf_ffff }] },
      'the segment at 0xfffff overlaps the boot area, which ends at 0x100000',
    ],
    [
      'segments that overlap by one byte',
      { segments: [good, { gpa: 0x10_0002, bytes: code }] },
      'its segments at 0x100000 and 0x100002 overlap',
    ],
    [
      'segments that overlap in memory only',
      {
        segments: [
          { gpa: 0x10_1000, bytes: code },
          { ...good, memoryBytes: 0x1001 },
        ],
        entry: 0x10_0000,
      },
      'its segments at 0x100000 and 0x101000 overlap',
    ],
    [
      'an entry one byte past its segment',
      { segments: [good], entry: 0x10_0003 },
      'its entry point 0x100003 is in none of its segments',
    ],
    [
      'an entry below its segment',
      { segments: [good], entry: 0xf_ffff },
      'its entry point 0xfffff is in none of its segments',
    ],
  ];

  it.each(cases)('%s', (_case, plan, reason) => {
    expectRefusal(elf(plan), 'ENOEXEC', reason);
  });

  it('a file that is not ELF: every single changed byte of the magic', () => {
    for (let index = 0; index < 4; index += 1) {
      const image = elf();
      image[index]! ^= 1;
      expectRefusal(image, 'ENOEXEC', 'it is not an ELF file');
    }
    expectRefusal(new Uint8Array(0), 'ENOEXEC', 'it is not an ELF file');
  });

  it('a file that is all header', () => {
    expectRefusal(elf({ segments: [] }), 'ENOEXEC', 'it has no program headers');
  });

  it('a file cut at any length', () => {
    const image = elf({ segments: [goodSegment(code)] });
    for (let length = 0; length < image.length; length += 1) {
      expect(() => parseElf(image.subarray(0, length), bounds), `cut at ${length}`).toThrow(OperatingError);
    }
  });
});

describe('parseElf refuses with ENOMEM', () => {
  it('a segment that ends one byte past memory', () => {
    const segments = [goodSegment(), { gpa: 0x3f_f000, bytes: code, memoryBytes: 0x1001 }];
    const reason = 'the segment at 0x3ff000 needs memory up to 0x400001, but memory ends at 0x400000';
    expectRefusal(elf({ segments }), 'ENOMEM', reason);
  });

  it('a segment at the end of the address space', () => {
    const segments = [goodSegment(), { gpa: 0xffff_ffff_ffff_f000n, bytes: code, memoryBytes: 0x1000 }];
    expectRefusal(elf({ segments }), 'ENOMEM', 'but memory ends at 0x400000');
  });

  it('a segment of 2^64 - 1 bytes', () => {
    const segments = [{ ...goodSegment(), memoryBytes: 0xffff_ffff_ffff_ffffn }];
    expectRefusal(elf({ segments }), 'ENOMEM', 'but memory ends at 0x400000');
  });
});

function expectRefusal(image: Uint8Array, code: string, reason: string): void {
  let thrown: unknown;
  try {
    parseElf(image, bounds);
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(OperatingError);
  const error = thrown as OperatingError;
  expect(error.code).toBe(code);
  expect(error.message).toContain(`machine: cannot load the image: `);
  expect(error.message).toContain(reason);
}
