import { createManagedMemory, gfn, type HostMemory, OperatingError, type Pfn, pfnToHpa } from '@nvmx/guest-memory';
import { EptOutcome, EptWalk, walkEpt } from '@nvmx/x86';
import { describe, expect, it } from 'vitest';
import { EptTables } from '../../src/index.ts';

const READ = 1;
const WRITE = 2;
const ALL = 7;

function newMemory(kernelFrames = 64): HostMemory {
  return createManagedMemory({ guestFrames: 64, kernelFrames });
}

/** Walks as the processor does, by host-physical address. */
function walk(memory: HostMemory, tables: EptTables, physical: number, access: number): EptWalk {
  const reader = {
    low: 0,
    high: 0,
    read(address: number): boolean {
      this.low = memory.i32[address / 4];
      this.high = memory.i32[address / 4 + 1];
      return true;
    },
    setBits(): void {},
  };
  const result = new EptWalk();
  const request = {
    pointerLow: tables.pointer,
    pointerHigh: 0,
    physical,
    access,
    physicalAddressBits: 46,
    executeOnly: true,
  };
  walkEpt(reader, request, result);
  return result;
}

describe('EptTables', () => {
  it('a mapped page translates to its frame with the offset kept', () => {
    const memory = newMemory();
    const tables = new EptTables(memory);
    const pfn = memory.frames.allocate('guest');
    tables.map({ at: gfn(0x12_3456), pfn, access: ALL, source: gfn(7) });
    const result = walk(memory, tables, 0x12_3456 * 4096 + 0xabc, READ);
    expect(result.outcome).toBe(EptOutcome.OK);
    expect(result.physical).toBe(pfnToHpa(pfn) + 0xabc);
  });

  it('an address that was never mapped is a violation', () => {
    const memory = newMemory();
    expect(walk(memory, new EptTables(memory), 0x1000, READ).outcome).toBe(EptOutcome.VIOLATION);
  });

  it.each([READ, WRITE, 4])('a page mapped without access %i refuses just that', (missing) => {
    const memory = newMemory();
    const tables = new EptTables(memory);
    const access = missing === READ ? 4 : ALL & ~missing;
    tables.map({ at: gfn(1), pfn: memory.frames.allocate('guest'), access, source: gfn(1) });
    expect(walk(memory, tables, 0x1000, missing).outcome).toBe(EptOutcome.VIOLATION);
    expect(walk(memory, tables, 0x1000, access === 4 ? 4 : access & 1).outcome).toBe(EptOutcome.OK);
  });

  it('unmapSource removes all leaves of a range and no other', () => {
    const memory = newMemory();
    const tables = new EptTables(memory);
    const pfns = [1, 2, 3].map(() => memory.frames.allocate('guest'));
    tables.map({ at: gfn(0x10), pfn: pfns[0] as Pfn, access: ALL, source: gfn(5) });
    tables.map({ at: gfn(0x20), pfn: pfns[0] as Pfn, access: ALL, source: gfn(5) });
    tables.map({ at: gfn(0x30), pfn: pfns[1] as Pfn, access: ALL, source: gfn(6) });
    expect(tables.unmapSource(gfn(5), gfn(6))).toBe(true);
    expect(tables.leafCount).toBe(1);
    expect(walk(memory, tables, 0x10000, READ).outcome).toBe(EptOutcome.VIOLATION);
    expect(walk(memory, tables, 0x20000, READ).outcome).toBe(EptOutcome.VIOLATION);
    expect(walk(memory, tables, 0x30000, READ).outcome).toBe(EptOutcome.OK);
    expect(tables.unmapSource(gfn(5), gfn(6))).toBe(false);
  });

  it('a leaf that maps another source is no longer found by its former one', () => {
    const memory = newMemory();
    const tables = new EptTables(memory);
    const pfn = memory.frames.allocate('guest');
    tables.map({ at: gfn(0x10), pfn, access: ALL, source: gfn(5) });
    tables.map({ at: gfn(0x10), pfn, access: ALL, source: gfn(9) });
    expect(tables.unmapSource(gfn(5), gfn(6))).toBe(false);
    expect(walk(memory, tables, 0x10000, READ).outcome).toBe(EptOutcome.OK);
  });

  it('writeProtectSource takes write access and leaves the rest', () => {
    const memory = newMemory();
    const tables = new EptTables(memory);
    tables.map({ at: gfn(1), pfn: memory.frames.allocate('guest'), access: ALL, source: gfn(1) });
    expect(tables.writeProtectSource(gfn(0), gfn(2 ** 40))).toBe(true);
    expect(walk(memory, tables, 0x1000, WRITE).outcome).toBe(EptOutcome.VIOLATION);
    expect(walk(memory, tables, 0x1000, READ).outcome).toBe(EptOutcome.OK);
    expect(tables.writeProtectSource(gfn(1), gfn(2))).toBe(false);
  });

  it('a kernel zone that runs out empties the tables and still maps the page', () => {
    const memory = newMemory(8);
    const tables = new EptTables(memory);
    const pfn = memory.frames.allocate('guest');
    for (let n = 0; n < 32; n++) tables.map({ at: gfn(n * 512), pfn, access: ALL, source: gfn(n) });
    expect(walk(memory, tables, 31 * 512 * 4096, READ).outcome).toBe(EptOutcome.OK);
  });

  it('a kernel zone without a frame for the root is ENOMEM', () => {
    const memory = newMemory(8);
    const code = (() => {
      try {
        for (;;) new EptTables(memory);
      } catch (error) {
        return error instanceof OperatingError ? error.code : error;
      }
    })();
    expect(code).toBe('ENOMEM');
  });

  it('destroy returns every frame', () => {
    const memory = newMemory(64);
    const before = memory.frames.freeCount('kernel');
    const tables = new EptTables(memory);
    const pfn = memory.frames.allocate('guest');
    for (let n = 0; n < 8; n++) tables.map({ at: gfn(n * 512 * 512), pfn, access: ALL, source: gfn(n) });
    tables.destroy();
    expect(memory.frames.freeCount('kernel')).toBe(before);
  });
});
