import { createManagedMemory, type HostMemory, OperatingError } from '@nvmx/guest-memory';
import { createHostMapBackend } from '@nvmx/host-map';
import type { PageBackend, VmMemory } from '@nvmx/mmu-events';
import { createPfncacheBackend } from '@nvmx/pfncache';
import { drive } from '@nvmx/sync';
import { describe, expect, it } from 'vitest';
import { createMachine, type Machine, type MachineOptions } from '../src/index.ts';
import { elf } from './elf-builder.ts';
import { code, print, program, report } from './program.ts';

const MIB = 1024 * 1024;
const backends: [string, (vm: VmMemory) => PageBackend][] = [
  ['host-map', createHostMapBackend],
  ['pfncache', createPfncacheBackend],
];

describe.each(backends)('a machine over %s', (_name, createBackend) => {
  it('runs an image to its exit code, and passes on its serial bytes, markers and figures', () => {
    let milliseconds = 5;
    const board = boardOf({ createBackend, clock: () => milliseconds++ });
    const image = program(
      print('hi\n'),
      code.out32(0x5e0, 7),
      code.out32(0x5e4, 2),
      code.out32(0x5e4, 99),
      code.exit(0),
    );
    board.machine.load(image);
    expect(board.machine.run()).toEqual({ kind: 'exit', code: 0 });
    expect([board.text(), board.markers, board.figures]).toEqual(['hi\n', [[7, 5]], [[2, 99]]]);
  });

  it('gives every frame back when it is destroyed', () => {
    const memory = createManagedMemory({ guestFrames: 1024 });
    const { machine } = boardOf({ createBackend, memory });
    machine.load(program(code.exit(0)));
    machine.run();
    machine.destroy();
    expect(freeFrames(memory)).toBe(1024);
  });
});

describe('entry', () => {
  it('has 64-bit code in CS 0x10, data in 0x18, and RSP 0', () => {
    expect(figuresOf(code.movEaxCs, report(0), code.movEaxDs, report(1), code.movEaxEsp, report(2))).toEqual([
      [0, 0x10],
      [1, 0x18],
      [2, 0],
    ]);
  });

  it('points RDI at the size of memory and the command line', () => {
    const board = boardOf({ memoryBytes: 3 * MIB });
    const byte = [...code.loadFromRdi(8), ...code.loadByteAtRax, ...code.outAl(0x3f8)];
    board.machine.load(program(code.loadFromRdi(0), report(0), byte, code.exit(0)), { commandLine: '!x' });
    board.machine.run();
    expect([board.figures, board.text()]).toEqual([[[0, 3 * MIB]], '!']);
  });

  it('shows an empty command line when there is none', () => {
    expect(figuresOf(code.loadFromRdi(8), code.loadByteAtRax, report(0))).toEqual([[0, 0]]);
  });
});

describe('run', () => {
  it.each([0, 1, 0x7fff_ffff, 0xffff_ffff])('ends with exit code %i, again and again', (value) => {
    const { machine } = boardOf();
    machine.load(program(code.exit(value)));
    expect([machine.run(), machine.run()]).toEqual([
      { kind: 'exit', code: value },
      { kind: 'exit', code: value },
    ]);
  });

  it('stops at the budget of entries and goes on from there', () => {
    const board = boardOf();
    board.machine.load(program(print('ab'), code.exit(3)));
    expect(board.machine.run({ entriesMax: 2 })).toEqual({ kind: 'budget' });
    expect(board.machine.run()).toEqual({ kind: 'exit', code: 3 });
    expect(board.text()).toBe('ab');
  });

  it('gives a guest that spins back at the budget', () => {
    const { machine } = boardOf();
    machine.load(program(code.spin));
    expect(machine.run({ entriesMax: 3, tickInstructions: 1000 })).toEqual({ kind: 'budget' });
  });

  it('says that the guest halted', () => {
    const { machine } = boardOf();
    machine.load(program(code.halt));
    expect(machine.run()).toEqual({ kind: 'halted' });
  });

  it('says where and why a guest died: a triple fault', () => {
    const { machine } = boardOf();
    machine.load(program([0x0f, 0x0b]));
    expect(machine.run()).toMatchObject({ kind: 'died', reason: 'triple fault', rip: 0x10_0000n });
  });

  it('says where and why a guest died: memory that is not there', () => {
    const { machine } = boardOf({ memoryBytes: 4 * MIB });
    machine.load(program(code.load32(4 * MIB)));
    const outcome = machine.run();
    expect(outcome).toMatchObject({ kind: 'died', rip: 0x10_0005n });
    expect(outcome.kind === 'died' && outcome.reason).toContain('0x400000');
  });

  it('reads the last word of memory', () => {
    expect(figuresOf(code.load32(4 * MIB - 4), report(0))).toEqual([[0, 0]]);
  });

  it('asserts that an image is loaded', () => {
    expect(() => boardOf().machine.run()).toThrow('machine: run: no image is loaded');
  });
});

describe('devices', () => {
  it('answer reads of free ports with all ones', () => {
    expect(figuresOf(code.inEax(0x70), report(0), code.inEax(0xcfc), report(1))).toEqual([
      [0, 0xffff_ffff],
      [1, 0xffff_ffff],
    ]);
  });

  it('hand the guest what the host sends to its serial port', () => {
    const board = boardOf();
    board.machine.load(program(code.inAl(0x3f8), code.outAl(0x3f8), code.exit(0)));
    expect(board.machine.serial.receive(0x41)).toBe(true);
    board.machine.run();
    expect(board.text()).toBe('A');
  });

  it('include what the caller adds, and assert that its ports are free', () => {
    const device = { read: () => 0x1234_5678, write: () => {} };
    const board = boardOf({ ports: [{ name: 'own', first: 0x510, last: 0x513, accessBytes: 4, device }] });
    board.machine.load(program(code.inEax(0x510), report(0), code.exit(0)));
    board.machine.run();
    expect(board.figures).toEqual([[0, 0x1234_5678]]);
    const taken = { name: 'own', first: 0x3ff, last: 0x400, accessBytes: 1, device } as const;
    expect(() => boardOf({ ports: [taken] })).toThrow('are taken');
  });

  it('include an x2APIC that the guest enables and sends itself a vector through', () => {
    const enable = [...code.wrmsr(0x1b, 0xfee0_0d00), ...code.wrmsr(0x80f, 0x1ff)];
    expect(figuresOf(enable, code.wrmsr(0x83f, 0x41), code.rdmsr(0x822), report(0))).toEqual([[0, 2]]);
  });

  it('include an APIC that takes addresses as wide as CPUID says, and no wider', () => {
    const board = boardOf();
    board.machine.load(program([0xb8, 0x08, 0, 0, 0x80, 0x0f, 0xa2], report(0), code.exit(0)));
    board.machine.run();
    const width = BigInt(board.figures[0]![1] & 0xff);
    const { apic } = board.machine;
    expect(apic.writeMsr(0x1b, 0x800n | (1n << width))).toBe(false);
    expect(apic.writeMsr(0x1b, 0x800n | (1n << (width - 1n)))).toBe(true);
  });

  it('raise #GP for a reserved x2APIC register', () => {
    const { machine } = boardOf();
    machine.load(program(code.wrmsr(0x1b, 0xfee0_0d00), code.rdmsr(0x804), code.exit(0)));
    expect(machine.run()).toMatchObject({ kind: 'died', reason: 'triple fault' });
  });
});

describe('load', () => {
  it('gives each image fresh memory: what the one before wrote is gone', () => {
    const board = boardOf();
    const image = program(
      code.load32(0x10_1000),
      report(0),
      code.store32(0x10_1000, 77),
      code.load32(0x10_1000),
      report(1),
      code.exit(0),
    );
    for (let round = 0; round < 2; round += 1) {
      board.machine.load(image);
      expect(board.machine.run()).toEqual({ kind: 'exit', code: 0 });
    }
    expect(board.figures).toEqual([
      [0, 0],
      [1, 77],
      [0, 0],
      [1, 77],
    ]);
  });

  it('leaves the machine as it was when it refuses an image or a command line', () => {
    const board = boardOf();
    board.machine.load(program(code.exit(5)));
    expect(() => board.machine.load(Uint8Array.of(1, 2, 3))).toThrow('it is not an ELF file');
    expect(() => board.machine.load(program(code.exit(6)), { commandLine: '\n' })).toThrow('not printable ASCII');
    expect(board.machine.run()).toEqual({ kind: 'exit', code: 5 });
  });

  it('refuses an image that does not fit its memory, and takes one that just does', () => {
    const { machine } = boardOf({ memoryBytes: 2 * MIB });
    const bytes = Uint8Array.from(code.exit(0));
    const image = (memoryBytes: number): Uint8Array => elf({ segments: [{ gpa: MIB, bytes, memoryBytes }] });
    expect(() => machine.load(image(MIB + 1))).toThrow('memory ends at 0x200000');
    machine.load(image(MIB));
    expect(machine.run()).toEqual({ kind: 'exit', code: 0 });
  });

  it('writes as user space does: pages it does not touch have no frame', () => {
    const { machine } = boardOf();
    machine.load(program(code.exit(0)));
    const bootPages = 9;
    expect(machine.host.residentPages).toBe(bootPages + 1);
  });

  it('throws ENOMEM when the host has no frame for the image', () => {
    const { machine } = boardOf({ memory: createManagedMemory({ guestFrames: 8 }) });
    expect(() => machine.load(program(code.exit(0)))).toThrow(expect.objectContaining({ code: 'ENOMEM' }));
  });
});

describe('createMachine', () => {
  it('puts slot 0 over all memory at gpa 0', () => {
    const { machine } = boardOf({ memoryBytes: 4 * MIB });
    const slots = machine.vm.memslots;
    expect(slots.find(0 as never)?.pageCount).toBe(1024);
    expect(slots.find(1023 as never)?.hva).toBe(machine.memoryHva);
    expect(slots.find(1024 as never)).toBeUndefined();
  });

  it('reads guest memory where memoryHva says', () => {
    const { machine } = boardOf();
    machine.load(program(code.exit(0)));
    const bytes = new Uint8Array(8);
    drive(machine.host.read((machine.memoryHva + 0x9000) as never, bytes));
    expect(new DataView(bytes.buffer).getBigUint64(0, true)).toBe(BigInt(machine.memoryBytes));
  });

  it.each([0, -4096, 4096, 2 * MIB - 4096, 2 * MIB + 1, 3 * 1024 * MIB + 4096, 2.5 * MIB + 0.5, Number.NaN, Infinity])(
    'refuses %d bytes of memory with EINVAL',
    (memoryBytes) => {
      expect(() => boardOf({ memoryBytes })).toThrow(OperatingError);
      expect(() => boardOf({ memoryBytes })).toThrow(expect.objectContaining({ code: 'EINVAL' }));
    },
  );
});

interface Board {
  readonly machine: Machine;
  readonly figures: [number, number][];
  readonly markers: [number, number][];
  text(): string;
}

function boardOf(o: Partial<MachineOptions> = {}): Board {
  const figures: [number, number][] = [];
  const markers: [number, number][] = [];
  let text = '';
  const machine = createMachine({
    memory: createManagedMemory({ guestFrames: 1024 }),
    memoryBytes: 4 * MIB,
    createBackend: createPfncacheBackend,
    onSerial: (byte) => {
      text += String.fromCharCode(byte);
    },
    onMarker: (marker, { milliseconds }) => markers.push([marker, milliseconds]),
    onReport: (index, value) => figures.push([index, value]),
    ...o,
  });
  return { machine, figures, markers, text: () => text };
}

/** The figures that the instructions report before they exit with 0. */
function figuresOf(...instructions: (readonly number[])[]): [number, number][] {
  const board = boardOf();
  board.machine.load(program(...instructions, code.exit(0)));
  expect(board.machine.run()).toEqual({ kind: 'exit', code: 0 });
  return board.figures;
}

/** Guest frames that can still be had. */
function freeFrames(memory: HostMemory): number {
  let count = 0;
  try {
    for (;;) {
      memory.frames.allocate('guest');
      count += 1;
    }
  } catch (error) {
    if (!(error instanceof OperatingError)) throw error;
  }
  return count;
}
