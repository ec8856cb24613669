import { hpa, hpaToPfn } from '@nvmx/guest-memory';
import { exitReason, field } from '@nvmx/vmx-fields';
import { describe, expect, it } from 'vitest';
import { RAX, RBX } from '../src/index.ts';
import { Guest, layout } from './guest.ts';

const hex32 = (value: number): string =>
  [0, 8, 16, 24].map((shift) => ((value >>> shift) & 0xff).toString(16).padStart(2, '0')).join('');

describe('code that changes', () => {
  it('a store to an instruction ahead in the same block takes effect at once', () => {
    const guest = new Guest();
    // mov byte [next + 1], 0x22; next: mov al, 0x11; hlt
    guest.run(`c60425${hex32(layout.code + 9)}22 b011 f4`);
    expect(guest.processor.registers.low(RAX) & 0xff).toBe(0x22);
  });

  it('a store to an instruction that ran before changes its next run', () => {
    const guest = new Guest();
    // mov ecx, 2; l: mov al, 1; add bl, al; mov byte [l + 1], 0x10; dec ecx; jnz l; hlt
    guest.run(`31db b902000000 b001 00c3 c60425${hex32(layout.code + 8)}10 ffc9 75f0 f4`);
    expect(guest.processor.registers.low(RBX)).toBe(0x11);
  });

  it('a store to data beside code leaves the code and works', () => {
    const guest = new Guest();
    // mov ecx, 50; l: inc dword [code + 0x800]; dec ecx; jnz l; hlt
    guest.run(`b932000000 ff0425${hex32(layout.code + 0x800)} ffc9 75f5 f4`);
    expect(guest.read32(layout.code + 0x800)).toBe(50);
  });

  it('another mapping of the same frame is the same code', () => {
    const guest = new Guest();
    guest.map4K(layout.data, layout.code, 3);
    // mov byte [data + next + 1], 0x22; next: mov al, 0x11; hlt
    guest.run(`c60425${hex32(layout.data + 9)}22 b011 f4`);
    expect(guest.processor.registers.low(RAX) & 0xff).toBe(0x22);
  });

  it('a write of the host counts after invalidateCode', () => {
    const guest = new Guest();
    guest.run('b011 f4');
    guest.memory.u8[guest.hpa(layout.code) + 1] = 0x33;
    guest.processor.invalidateCode(hpaToPfn(hpa(guest.hpa(layout.code))));
    guest.set(field.GUEST_RIP, layout.code);
    guest.resume();
    expect(guest.processor.registers.low(RAX) & 0xff).toBe(0x33);
  });

  it('a frame that was freed and handed out again is decoded anew after a flush', () => {
    const guest = new Guest();
    guest.run('b011 f4');
    const pfn = hpaToPfn(hpa(guest.hpa(layout.code)));
    guest.memory.frames.put(pfn);
    expect(guest.memory.frames.allocate('guest')).toBe(pfn);
    guest.memory.u8.set([0xb0, 0x44, 0xf4], guest.hpa(layout.code));
    guest.processor.invalidate({ kind: 'all' });
    guest.set(field.GUEST_RIP, layout.code);
    expect(guest.resume()).toBe(exitReason.HLT);
    expect(guest.processor.registers.low(RAX) & 0xff).toBe(0x44);
  });

  it('a string store is watched like any store', () => {
    const guest = new Guest();
    // mov edi, next + 1; mov al, 0x55; mov ecx, 1; rep stosb; next: mov bl, 0x11; hlt
    guest.run(`bf${hex32(layout.code + 15)} b055 b901000000 f3aa b311 f4`);
    expect(guest.processor.registers.low(RBX) & 0xff).toBe(0x55);
  });
});

describe('instructions that cross a page', () => {
  const at = layout.code + 0xffd;
  const run = (guest: Guest, code: string): number => {
    guest.load(at, code);
    guest.set(field.GUEST_RIP, at);
    return guest.resume();
  };

  it('run, also when the second page lies elsewhere', () => {
    const guest = new Guest();
    guest.map4K(layout.code + 0x1000, layout.data, 3);
    guest.load(layout.data, '3344 f4');
    // mov eax, 0x44331122
    run(guest, 'b82211');
    expect(guest.processor.registers.low(RAX)).toBe(0x4433_1122);
    expect(guest.get(field.GUEST_RIP)).toBe(at + 5);
  });

  it('see a change of either page', () => {
    const guest = new Guest();
    expect(run(guest, 'b82211 3344 f4')).toBe(exitReason.HLT);
    guest.memory.u8[guest.hpa(at) + 4] = 0x55;
    run(guest, 'b82211');
    expect(guest.processor.registers.low(RAX)).toBe(0x5533_1122);
  });

  it('fault at the address of the second page, RIP at the instruction', () => {
    const guest = new Guest();
    guest.map4K(layout.code + 0x1000, 0, 0);
    guest.set(field.EXCEPTION_BITMAP, 1 << 14);
    expect(run(guest, 'b82211')).toBe(exitReason.EXCEPTION_NMI);
    expect(guest.get(field.EXIT_QUALIFICATION)).toBe(layout.code + 0x1000);
    expect(guest.get(field.GUEST_RIP)).toBe(at);
  });

  it('do not need the second page when they end before it', () => {
    const guest = new Guest();
    guest.map4K(layout.code + 0x1000, 0, 0);
    expect(run(guest, '9090f4')).toBe(exitReason.HLT);
  });
});
