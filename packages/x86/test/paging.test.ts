import { exceptionVector, exitReason, field } from '@nvmx/vmx-fields';
import { describe, expect, it } from 'vitest';
import { pagingAccess as access, PagingWalk, RAX, type TableReader, WalkOutcome, walkPaging } from '../src/index.ts';
import { Guest, layout } from './guest.ts';

const [P, RW, US, A, D, PS] = [1, 2, 4, 0x20, 0x40, 0x80];
const NX = 1n << 63n;
const ERROR = { P: 1, W: 2, U: 4, RSVD: 8, I: 16 } as const;

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

const LINEAR = { low: 0x1234_5678, high: 0x7f12 } as const;
const ROOT = 0x1000;

function indexAt(level: number): number {
  const linear = (BigInt(LINEAR.high) << 32n) | BigInt(LINEAR.low);
  return Number((linear >> BigInt(12 + 9 * (level - 1))) & 511n);
}

/** One path of tables to a leaf at `leafLevel`, with the same flags in every entry. */
function tables(o: {
  readonly flags?: number;
  readonly leaf?: bigint;
  readonly leafLevel?: number;
  readonly levels?: number;
}) {
  const reader = new MapReader();
  const addresses: number[] = [];
  const leafLevel = o.leafLevel ?? 1;
  let table = ROOT;
  for (let level = o.levels ?? 4; level > leafLevel; level--) {
    addresses.push(table + 8 * indexAt(level));
    reader.entries.set(table + 8 * indexAt(level), BigInt(table + 0x1000) | BigInt(o.flags ?? P | RW | US));
    table += 0x1000;
  }
  addresses.push(table + 8 * indexAt(leafLevel));
  reader.entries.set(table + 8 * indexAt(leafLevel), o.leaf ?? 0x8_0000_0000n | BigInt(o.flags ?? P | RW | US));
  return { reader, addresses };
}

const request = (rules: number, o: { readonly levels?: number; readonly bits?: number } = {}) => ({
  root: ROOT,
  levels: o.levels ?? 4,
  linearLow: LINEAR.low,
  linearHigh: LINEAR.high,
  access: rules | access.gigabytePages,
  physicalAddressBits: o.bits ?? 46,
});
const walk = new PagingWalk();

describe('walkPaging translates', () => {
  it.each([
    ['a 4-KiB page', 1, 0x8_0000_1000n, 0x8_0000_1678],
    ['a 2-MiB page', 2, 0x8_0020_0000n | BigInt(PS), 0x8_0034_5678],
    ['a 1-GiB page', 3, 0x8_4000_0000n | BigInt(PS), 0x8_5234_5678],
  ])('%s', (_, leafLevel, leaf, expected) => {
    const { reader } = tables({ leafLevel, leaf: leaf | BigInt(P | RW) });
    expect(walkPaging(reader, request(0), walk)).toBe(WalkOutcome.OK);
    expect([walk.physical, walk.pageShift]).toEqual([expected, 12 + 9 * (leafLevel - 1)]);
  });

  it('five levels', () => {
    const { reader } = tables({ levels: 5 });
    expect(walkPaging(reader, request(0, { levels: 5 }), walk)).toBe(WalkOutcome.OK);
  });
});

describe('walkPaging decides about rights', () => {
  const kinds = [0, access.write, access.execute];
  const cases = [0, RW, US, RW | US].flatMap((rights) =>
    kinds.flatMap((kind) => [0, access.user].map((user) => [rights, kind, user] as const)),
  );

  it.each(cases)('rights %i, access %i, user %i, under CR0.WP', (rights, kind, user) => {
    const { reader } = tables({ flags: P | rights });
    const isUserPage = (rights & US) !== 0;
    const allowed =
      user === 0
        ? kind !== access.write || (rights & RW) !== 0
        : isUserPage && (kind !== access.write || (rights & RW) !== 0);
    const outcome = walkPaging(reader, request(kind | user | access.writeProtect), walk);
    expect(outcome).toBe(allowed ? WalkOutcome.OK : WalkOutcome.FAULT);
    if (!allowed) {
      expect(walk.errorCode).toBe(ERROR.P | (kind === access.write ? ERROR.W : 0) | (user === 0 ? 0 : ERROR.U));
    }
  });

  it('without CR0.WP a supervisor write ignores R/W, a user write does not', () => {
    const { reader } = tables({ flags: P | US });
    expect(walkPaging(reader, request(access.write), walk)).toBe(WalkOutcome.OK);
    expect(walkPaging(reader, request(access.write | access.user), walk)).toBe(WalkOutcome.FAULT);
  });

  it('each level can take a right away', () => {
    for (const right of [RW, US]) {
      for (let n = 0; n < 4; n++) {
        const { reader, addresses } = tables({});
        const entry = reader.entries.get(addresses[n]) as bigint;
        reader.entries.set(addresses[n], entry & ~BigInt(right));
        expect(walkPaging(reader, request(access.write | access.user), walk)).toBe(WalkOutcome.FAULT);
      }
    }
  });

  it('XD at any level forbids fetches under NXE, and is reserved without it', () => {
    for (let n = 0; n < 4; n++) {
      const { reader, addresses } = tables({});
      reader.entries.set(addresses[n], (reader.entries.get(addresses[n]) as bigint) | NX);
      expect(walkPaging(reader, request(access.execute | access.noExecute), walk)).toBe(WalkOutcome.FAULT);
      expect(walk.errorCode).toBe(ERROR.P | ERROR.I);
      expect(walkPaging(reader, request(access.noExecute), walk)).toBe(WalkOutcome.OK);
      expect(walkPaging(reader, request(0), walk)).toBe(WalkOutcome.FAULT);
      expect(walk.errorCode).toBe(ERROR.P | ERROR.RSVD);
    }
  });

  it('SMEP forbids supervisor fetches from user pages, SMAP supervisor data accesses', () => {
    const { reader } = tables({});
    expect(walkPaging(reader, request(access.execute | access.smep), walk)).toBe(WalkOutcome.FAULT);
    expect(walk.errorCode).toBe(ERROR.P | ERROR.I);
    expect(walkPaging(reader, request(access.smep), walk)).toBe(WalkOutcome.OK);
    expect(walkPaging(reader, request(access.smap), walk)).toBe(WalkOutcome.FAULT);
    expect(walkPaging(reader, request(access.smap | access.execute), walk)).toBe(WalkOutcome.OK);
    expect(walkPaging(reader, request(access.smap | access.user), walk)).toBe(WalkOutcome.OK);
    expect(
      walkPaging(tables({ flags: P | RW }).reader, request(access.smap | access.smep | access.execute), walk),
    ).toBe(WalkOutcome.OK);
  });
});

describe('walkPaging reports', () => {
  it('an entry that is not present, at any level, with P clear', () => {
    for (let n = 0; n < 4; n++) {
      const { reader, addresses } = tables({});
      reader.entries.set(addresses[n], 0x1_0000n);
      expect(walkPaging(reader, request(access.write), walk)).toBe(WalkOutcome.FAULT);
      expect([walk.errorCode, walk.entryAddress]).toEqual([ERROR.W, addresses[n]]);
    }
  });

  it('address bits at and above the physical width as reserved, for each bit and width', () => {
    for (const bits of [36, 39, 46, 52]) {
      for (let bit = 32; bit < 52; bit++) {
        const { reader, addresses } = tables({});
        reader.entries.set(addresses[3], (reader.entries.get(addresses[3]) as bigint) | (1n << BigInt(bit)));
        const outcome = walkPaging(reader, request(0, { bits }), walk);
        expect([bits, bit, outcome]).toEqual([bits, bit, bit >= bits ? WalkOutcome.FAULT : WalkOutcome.OK]);
      }
    }
  });

  it('the reserved bits of large pages, bit by bit', () => {
    for (const [leafLevel, first, last] of [
      [2, 13, 20],
      [3, 13, 29],
    ]) {
      for (let bit = 12; bit < 31; bit++) {
        const { reader } = tables({ leafLevel, leaf: 0x8_0000_0000n | BigInt(P | PS) | (1n << BigInt(bit)) });
        const isReserved = bit >= first && bit <= last;
        expect(walkPaging(reader, request(0), walk)).toBe(isReserved ? WalkOutcome.FAULT : WalkOutcome.OK);
      }
    }
  });

  it('PS in a PML4 entry, and in a PDPT entry without 1-GiB pages, as reserved', () => {
    const { reader, addresses } = tables({});
    reader.entries.set(addresses[0], (reader.entries.get(addresses[0]) as bigint) | BigInt(PS));
    expect(walkPaging(reader, request(0), walk)).toBe(WalkOutcome.FAULT);
    const large = tables({ leafLevel: 3, leaf: 0x8_0000_0000n | BigInt(P | PS) }).reader;
    expect(walkPaging(large, { ...request(0), access: 0 }, walk)).toBe(WalkOutcome.FAULT);
    expect(walk.errorCode).toBe(ERROR.P | ERROR.RSVD);
  });

  it('entries that cannot be read', () => {
    expect(walkPaging(new MapReader(), request(0), walk)).toBe(WalkOutcome.UNREADABLE);
    expect(walk.entryAddress).toBe(ROOT + 8 * indexAt(4));
  });
});

describe('accessed and dirty flags', () => {
  const flagsOf = (reader: MapReader, addresses: readonly number[]): number[] =>
    addresses.map((address) => Number(reader.entries.get(address) as bigint) & (A | D));

  it('a read sets A everywhere, a write D in the leaf as well', () => {
    const { reader, addresses } = tables({});
    walkPaging(reader, request(0), walk);
    expect(flagsOf(reader, addresses)).toEqual([A, A, A, A]);
    expect(walk.writable).toBe(false);
    walkPaging(reader, request(access.write), walk);
    expect(flagsOf(reader, addresses)).toEqual([A, A, A, A | D]);
    walkPaging(reader, request(0), walk);
    expect(walk.writable).toBe(true);
  });

  it('a fault sets none, and a walk that only looks sets none', () => {
    const { reader, addresses } = tables({ flags: P | RW });
    walkPaging(reader, request(access.user), walk);
    walkPaging(reader, request(access.write | access.noUpdate), walk);
    expect(flagsOf(reader, addresses)).toEqual([0, 0, 0, 0]);
  });
});

describe('the TLB', () => {
  const HANDLER = layout.handlers;
  /** Loads from 0x30000; a page table maps it. */
  const mapped = (flags = P | RW): Guest => {
    const guest = new Guest();
    guest.map4K(layout.data, layout.data, flags);
    guest.write32(layout.data, 0x11);
    guest.write32(layout.data + 0x1000, 0x22);
    guest.setGate(exceptionVector.PF, HANDLER);
    guest.load(HANDLER, 'b8ff000000 f4');
    return guest;
  };
  const entry = layout.pageTable + (layout.data / 4096) * 8;
  const load = '8b042500000300';
  /** mov dword [entry], value - through the identity map of the page table. */
  const setEntry = (value: number): string => {
    const hex = (n: number): string =>
      [0, 8, 16, 24].map((s) => ((n >>> s) & 255).toString(16).padStart(2, '0')).join('');
    return `c70425${hex(entry)}${hex(value)}`;
  };

  it('keeps a translation until INVLPG', () => {
    const guest = mapped();
    guest.run(`${load} ${setEntry(layout.data + 0x1000 + 3)} ${load} f4`);
    expect(guest.processor.registers.low(RAX)).toBe(0x11);
    guest.run(`0f013c2500000300 ${load} f4`);
    expect(guest.processor.registers.low(RAX)).toBe(0x22);
  });

  it('INVLPG of another page keeps it, a CR3 write drops it', () => {
    const guest = mapped();
    guest.run(`${load} ${setEntry(layout.data + 0x1000 + 3)} 0f013c2500100300 ${load} f4`);
    expect(guest.processor.registers.low(RAX)).toBe(0x11);
    guest.run(`0f20d8 0f22d8 ${load} f4`);
    expect(guest.processor.registers.low(RAX)).toBe(0x22);
  });

  it('INVLPG drops every fragment of a large page', () => {
    const guest = new Guest();
    guest.setGate(exceptionVector.PF, HANDLER);
    guest.load(HANDLER, 'b8ff000000 f4');
    guest.write32(0x20_0000, 0x33);
    const directoryEntry = (layout.directory + 8).toString(16).padStart(4, '0');
    const address = `${directoryEntry.slice(2)}${directoryEntry.slice(0, 2)}0000`;
    // mov eax,[0x200000]; mov dword [pde1], 0; invlpg [0x3ff000]; mov eax,[0x200000]; hlt
    guest.run(`8b042500002000 c70425${address}00000000 0f013c2500f03f00 8b042500002000 f4`);
    expect(guest.processor.registers.low(RAX)).toBe(0xff);
  });

  it('without VPID a VM entry drops translations, with VPID it does not', () => {
    for (const [secondary, expected] of [
      [0, 0x22],
      [0x20, 0x11],
    ]) {
      const guest = mapped();
      guest.set(field.SECONDARY_VM_EXEC_CONTROL, 2 | secondary);
      guest.run(`${load} f4`);
      guest.write32(entry, layout.data + 0x1000 + 3);
      guest.run(`${load} f4`);
      expect(guest.processor.registers.low(RAX)).toBe(expected);
    }
  });

  it('translations of two VPIDs do not mix', () => {
    const guest = mapped();
    guest.run(`${load} f4`);
    guest.write32(entry, layout.data + 0x1000 + 3);
    guest.set(field.VIRTUAL_PROCESSOR_ID, 2);
    guest.run(`${load} f4`);
    expect(guest.processor.registers.low(RAX)).toBe(0x22);
    guest.set(field.VIRTUAL_PROCESSOR_ID, 1);
    guest.run(`${load} f4`);
    expect(guest.processor.registers.low(RAX)).toBe(0x11);
    guest.processor.invalidate({ kind: 'vpid', vpid: 2 });
    guest.run(`${load} f4`);
    expect(guest.processor.registers.low(RAX)).toBe(0x11);
    guest.processor.invalidate({ kind: 'vpid', vpid: 1, linear: BigInt(layout.data) });
    guest.run(`${load} f4`);
    expect(guest.processor.registers.low(RAX)).toBe(0x22);
  });

  it('PCIDs keep their translations over CR3 writes with bit 63', () => {
    const guest = mapped();
    guest.set(field.GUEST_CR4, 0x2_2020);
    guest.run(`${load} f4`);
    guest.write32(entry, layout.data + 0x1000 + 3);
    // mov rax, (1 << 63) | pml4 | 1; mov cr3, rax; load; hlt
    guest.run(`48b80110000000000080 0f22d8 ${load} f4`);
    expect(guest.processor.registers.low(RAX)).toBe(0x22);
    guest.run(`48b80010000000000080 0f22d8 ${load} f4`);
    expect(guest.processor.registers.low(RAX)).toBe(0x11);
    guest.run(`b800100000 0f22d8 ${load} f4`);
    expect(guest.processor.registers.low(RAX)).toBe(0x22);
  });

  it('CR0.WP takes effect at once', () => {
    const guest = mapped(P);
    guest.set(field.GUEST_CR0, 0x8000_0031);
    // mov [0x30000], eax; mov rax, cr0; or eax, 0x10000; mov cr0, rax; mov [0x30000], eax
    expect(guest.run('89042500000300 0f20c0 0d00000100 0f22c0 89042500000300')).toBe(exitReason.HLT);
    expect(guest.processor.registers.low(RAX)).toBe(0xff);
  });

  it('a dirty flag is set by the first store after loads', () => {
    const guest = mapped();
    guest.run(`${load} ${load} f4`);
    expect(guest.read32(entry) & (A | D)).toBe(A);
    guest.run('89042500000300 f4');
    expect(guest.read32(entry) & (A | D)).toBe(A | D);
  });

  it('accesses that cross a page fault before anything is written', () => {
    const guest = mapped();
    guest.map4K(layout.data + 0x1000, layout.data + 0x1000, 0);
    // mov eax, -1; mov [0x30ffe], eax
    guest.run('b8ffffffff 890425fe0f0300');
    expect(guest.processor.registers.low(RAX)).toBe(0xff);
    expect(guest.processor.cr2).toBe(BigInt(layout.data + 0x1000));
    expect(guest.memory.u8[guest.hpa(layout.data + 0xffe)]).toBe(0);
  });

  it('accesses that cross a page reach both frames', () => {
    const guest = mapped();
    guest.map4K(layout.data + 0x1000, layout.data + 0x3000, P | RW);
    // mov rax, 0x8877665544332211; mov [0x30ffb], rax; mov rbx, [0x30ffb]; hlt
    guest.run('48b81122334455667788 48890425fb0f0300 488b1c25fb0f0300 f4');
    expect(guest.processor.registers.big(3)).toBe(0x8877_6655_4433_2211n);
    expect(guest.memory.u8[guest.hpa(layout.data + 0xfff)]).toBe(0x55);
    expect(guest.memory.u8[guest.hpa(layout.data + 0x3000)]).toBe(0x66);
  });
});
