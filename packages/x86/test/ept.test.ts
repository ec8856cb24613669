import { exitReason, field } from '@nvmx/vmx-fields';
import { describe, expect, it } from 'vitest';
import { EptOutcome, EptWalk, eptAccess, type TableReader, walkEpt } from '../src/index.ts';
import { Guest, layout } from './guest.ts';

const PAGE = 4096;
const [READ, WRITE, EXECUTE] = [1, 2, 4];
const WRITE_BACK = 0x30;
const LINEAR_VALID = 0x80;
const FINAL = 0x100;
const FLAGS_ENABLED = 0x40;
const ACCESSED = 0x100;
const DIRTY = 0x200;

/** mov eax, [0x30000]; hlt - mov [0x30000], eax; hlt - inc dword [0x30000]; hlt - jump to 0x30000, a HLT there. */
const load = '8b042500000300 f4';
const store = '89042500000300 f4';
const update = 'ff042500000300 f4';
const fetch = 'b800000300 ffe0';

function guestWithLeaf(entry: number): Guest {
  const guest = new Guest();
  guest.mapEpt(layout.data, guest.hpa(layout.data), entry);
  guest.memory.u8[guest.hpa(layout.data)] = 0xf4;
  return guest;
}

describe('permissions of a leaf', () => {
  const accesses = [
    ['load', load, READ],
    ['store', store, WRITE],
    ['update', update, READ | WRITE],
    ['fetch', fetch, EXECUTE],
  ] as const;
  const readable = [0, READ, READ | WRITE, EXECUTE, READ | EXECUTE, READ | WRITE | EXECUTE];

  it.each(
    accesses.flatMap(([name, code, access]) =>
      readable.map((permissions) => [name, code, access, permissions] as const),
    ),
  )('%s (%s), which needs %i, with %i', (_, code, access, permissions) => {
    const guest = guestWithLeaf(permissions === 0 ? 0 : WRITE_BACK | permissions);
    const reason = guest.run(code);
    if ((access & permissions) === access) {
      expect(reason).toBe(exitReason.HLT);
      return;
    }
    expect(reason).toBe(exitReason.EPT_VIOLATION);
    expect(guest.get(field.EXIT_QUALIFICATION)).toBe(access | (permissions << 3) | LINEAR_VALID | FINAL);
    expect(guest.get(field.GUEST_PHYSICAL_ADDRESS)).toBe(layout.data);
    expect(guest.get(field.GUEST_LINEAR_ADDRESS)).toBe(layout.data);
  });

  it('permissions of all levels are combined', () => {
    for (const level of [1, 2, 3, 4]) {
      const guest = guestWithLeaf(WRITE_BACK | 7);
      const entry = guest.eptEntry(layout.data, level) / 4;
      guest.memory.u32[entry] &= ~WRITE;
      guest.set(field.GUEST_RIP, layout.code);
      // Page tables are below the same upper levels, but nothing writes to them.
      for (const at of [layout.pml4, layout.pdpt, layout.directory]) guest.write32(at, guest.read32(at) | 0x60);
      expect(guest.run(store)).toBe(exitReason.EPT_VIOLATION);
      expect(guest.get(field.EXIT_QUALIFICATION) & 0x3f).toBe(WRITE | ((READ | EXECUTE) << 3));
    }
  });

  it('the addresses are exact to the byte', () => {
    const guest = guestWithLeaf(0);
    guest.run('8b0425bc0a0300');
    expect(guest.get(field.GUEST_PHYSICAL_ADDRESS)).toBe(0x30abc);
    expect(guest.get(field.GUEST_LINEAR_ADDRESS)).toBe(0x30abc);
  });

  it('a violation leaves the instruction undone: RIP at it, its length reported', () => {
    const guest = guestWithLeaf(0);
    expect(guest.run(`90 ${load}`)).toBe(exitReason.EPT_VIOLATION);
    expect(guest.get(field.GUEST_RIP)).toBe(layout.code + 1);
    expect(guest.get(field.VM_EXIT_INSTRUCTION_LEN)).toBe(7);
    expect(guest.processor.instructions).toBe(1);
  });

  it('after the host maps the page the instruction completes, without any flush', () => {
    const guest = guestWithLeaf(0);
    guest.run(load);
    guest.mapEpt(layout.data, guest.hpa(layout.data), WRITE_BACK | 7);
    expect(guest.resume()).toBe(exitReason.HLT);
  });

  it('taking a right away shows after INVEPT', () => {
    const guest = guestWithLeaf(WRITE_BACK | 7);
    guest.run(store);
    guest.mapEpt(layout.data, guest.hpa(layout.data), WRITE_BACK | READ);
    expect(guest.run(store)).toBe(exitReason.HLT);
    guest.processor.invalidate({ kind: 'ept', eptPointer: guest.eptPointer });
    expect(guest.run(store)).toBe(exitReason.EPT_VIOLATION);
  });

  it('INVEPT of another pointer keeps the translation', () => {
    const guest = guestWithLeaf(WRITE_BACK | 7);
    guest.run(store);
    guest.mapEpt(layout.data, guest.hpa(layout.data), WRITE_BACK | READ);
    guest.processor.invalidate({ kind: 'ept', eptPointer: guest.eptPointer + PAGE });
    expect(guest.run(store)).toBe(exitReason.HLT);
  });
});

describe('paging structures in the guest', () => {
  it('an unmapped one is a violation that is not the final translation', () => {
    const guest = new Guest();
    guest.mapEpt(layout.directory, 0, 0);
    expect(guest.run('90')).toBe(exitReason.EPT_VIOLATION);
    expect(guest.get(field.EXIT_QUALIFICATION)).toBe(READ | LINEAR_VALID);
    expect(guest.get(field.GUEST_PHYSICAL_ADDRESS)).toBe(layout.directory);
    expect(guest.get(field.GUEST_LINEAR_ADDRESS)).toBe(layout.code);
  });

  it('setting an accessed flag in a read-only one is a write violation', () => {
    const guest = new Guest();
    guest.mapEpt(layout.pdpt, guest.hpa(layout.pdpt), WRITE_BACK | READ);
    expect(guest.run('90')).toBe(exitReason.EPT_VIOLATION);
    expect(guest.get(field.EXIT_QUALIFICATION)).toBe(WRITE | (READ << 3) | LINEAR_VALID);
    expect(guest.get(field.GUEST_PHYSICAL_ADDRESS)).toBe(layout.pdpt);
  });

  it('with accessed and dirty flags for EPT every access to one counts as a write', () => {
    const guest = new Guest();
    guest.set(field.EPT_POINTER, guest.eptPointer | FLAGS_ENABLED);
    for (const at of [layout.pml4, layout.pdpt, layout.directory]) guest.write32(at, guest.read32(at) | 0x20);
    guest.mapEpt(layout.pdpt, guest.hpa(layout.pdpt), WRITE_BACK | READ);
    expect(guest.run('90')).toBe(exitReason.EPT_VIOLATION);
    expect(guest.get(field.EXIT_QUALIFICATION)).toBe(READ | WRITE | (READ << 3) | LINEAR_VALID);
  });
});

describe('accessed and dirty flags', () => {
  const leafOf = (guest: Guest): number => guest.memory.u32[guest.eptEntry(layout.data, 1) / 4] & (ACCESSED | DIRTY);

  it('stay clear when the pointer does not enable them', () => {
    const guest = guestWithLeaf(WRITE_BACK | 7);
    guest.run(store);
    expect(leafOf(guest)).toBe(0);
  });

  it('a load sets A, a store sets A and D, a load before a store does not hide the store', () => {
    const guest = guestWithLeaf(WRITE_BACK | 7);
    guest.set(field.EPT_POINTER, guest.eptPointer | FLAGS_ENABLED);
    guest.run(load);
    expect(leafOf(guest)).toBe(ACCESSED);
    guest.run(store);
    expect(leafOf(guest)).toBe(ACCESSED | DIRTY);
  });
});

describe('misconfiguration', () => {
  it.each([
    ['write without read', WRITE_BACK | WRITE],
    ['write and execute without read', WRITE_BACK | WRITE | EXECUTE],
    ['memory type 2', 0x10 | 7],
    ['memory type 3', 0x18 | 7],
    ['memory type 7', 0x38 | 7],
  ])('%s', (_, entry) => {
    const guest = guestWithLeaf(entry);
    expect(guest.run(load)).toBe(exitReason.EPT_MISCONFIG);
    expect(guest.get(field.GUEST_PHYSICAL_ADDRESS)).toBe(layout.data);
  });

  it('an address bit above the physical-address width', () => {
    for (let bit = 32; bit < 52; bit++) {
      const guest = guestWithLeaf(WRITE_BACK | 7);
      guest.memory.u32[guest.eptEntry(layout.data, 1) / 4 + 1] = 2 ** (bit - 32);
      expect(guest.run(load)).toBe(bit >= 46 ? exitReason.EPT_MISCONFIG : exitReason.HLT);
    }
  });

  it.each([2, 3, 4])('reserved bits of a table entry at level %i', (level) => {
    for (const bit of [3, 4, 5, 6]) {
      const guest = guestWithLeaf(WRITE_BACK | 7);
      guest.memory.u32[guest.eptEntry(layout.data, level) / 4] |= 1 << bit;
      expect(guest.run('90')).toBe(exitReason.EPT_MISCONFIG);
    }
  });
});

describe('memory without a frame behind it', () => {
  it('reads ones and drops writes', () => {
    const guest = guestWithLeaf(WRITE_BACK | 7);
    guest.mapEpt(layout.data, 0x4000_0000, WRITE_BACK | 7);
    guest.run(`89042500000300 ${load}`);
    expect(guest.processor.registers.low(0)).toBe(-1);
  });
});

describe('walkEpt', () => {
  /** Tables as a map from address to entry. */
  class MapReader implements TableReader {
    low = 0;
    high = 0;
    readonly entries = new Map<number, bigint>();
    read(address: number): boolean {
      const entry = this.entries.get(address);
      if (entry === undefined) return false;
      this.low = Number(BigInt.asIntN(32, entry));
      this.high = Number(BigInt.asIntN(32, entry >> 32n));
      return true;
    }
    setBits(address: number, bits: number): void {
      this.entries.set(address, (this.entries.get(address) as bigint) | BigInt(bits));
    }
  }
  const request = (physical: number, access: number) => ({
    pointerLow: 0x1e + 0x1000,
    pointerHigh: 0,
    physical,
    access,
    physicalAddressBits: 46,
    executeOnly: true,
  });
  const walk = new EptWalk();

  it.each([
    ['4 KiB', 12, 0x8_0000_3000n | 0x37n, 0x8_0000_3abc],
    ['2 MiB', 21, 0x8_0020_0000n | 0xb7n, 0x8_0034_5abc],
    ['1 GiB', 30, 0xc_0000_0000n | 0xb7n, 0xc_1234_5abc],
  ])('translates a %s page', (_, shift, leaf, expected) => {
    const reader = new MapReader();
    const physical = 0x12_5234_5abc;
    const index = (level: number): number => Math.floor(physical / 2 ** (3 + 9 * level)) % 512;
    let table = 0x1000;
    for (let level = 4; 12 + 9 * (level - 1) > shift; level--) {
      reader.entries.set(table + 8 * index(level), BigInt(table + 0x1000) | 7n);
      table += 0x1000;
    }
    reader.entries.set(table + 8 * index((shift - 12) / 9 + 1), leaf);
    expect(walkEpt(reader, request(physical, eptAccess.read), walk)).toBe(EptOutcome.OK);
    expect([walk.physical, walk.pageShift]).toEqual([expected, shift]);
  });

  it('ends as unreadable where the reader has no bytes, and names the entry', () => {
    expect(walkEpt(new MapReader(), request(0x1234_5000, eptAccess.read), walk)).toBe(EptOutcome.UNREADABLE);
    expect(walk.entryAddress).toBe(0x1000);
  });

  it('refuses execute-only entries where they do not exist', () => {
    const reader = new MapReader();
    reader.entries.set(0x1000, 0x2004n);
    const without = { ...request(0, eptAccess.execute), executeOnly: false };
    expect(walkEpt(reader, without, walk)).toBe(EptOutcome.MISCONFIGURATION);
    expect(walkEpt(reader, request(0, eptAccess.execute), walk)).toBe(EptOutcome.UNREADABLE);
  });
});
