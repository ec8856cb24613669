import { exitReason, field, exceptionVector as vectorOf } from '@nvmx/vmx-fields';
import { describe, expect, it } from 'vitest';
import { RCX, RDI } from '../src/index.ts';
import { layout } from './guest.ts';
import { frame, guestWithHandlers, takenVector } from './handlers.ts';

describe('single step', () => {
  const TF = 0x100;
  const BS = 0x4000n;

  it('TF traps after each instruction, with BS in DR6', () => {
    const guest = guestWithHandlers();
    guest.set(field.GUEST_RFLAGS, 2 | TF);
    guest.run('90 90');
    expect([takenVector(guest), frame(guest, 1)]).toEqual([vectorOf.DB, [BigInt(layout.code + 1)]]);
    expect(guest.processor.debugRegister(6) & BS).toBe(BS);
    expect(guest.get(field.GUEST_RFLAGS) & TF).toBe(0);
  });

  it('exits with BS as qualification and leaves DR6', () => {
    const guest = guestWithHandlers();
    guest.set(field.EXCEPTION_BITMAP, 2);
    guest.set(field.GUEST_RFLAGS, 2 | TF);
    expect(guest.run('90 90')).toBe(exitReason.EXCEPTION_NMI);
    expect(guest.get(field.EXIT_QUALIFICATION)).toBe(Number(BS));
    expect(guest.get(field.GUEST_RIP)).toBe(layout.code + 1);
    expect(guest.processor.debugRegister(6) & BS).toBe(0n);
  });

  it('TF traps after each iteration of a repeated string instruction', () => {
    const guest = guestWithHandlers();
    guest.set(field.EXCEPTION_BITMAP, 2);
    guest.set(field.GUEST_RFLAGS, 2 | TF);
    guest.processor.registers.set(RCX, 5, 0);
    guest.processor.registers.set(RDI, layout.data, 0);
    guest.run('f3ab');
    expect(guest.processor.registers.low(RCX)).toBe(4);
    expect(guest.get(field.GUEST_RIP)).toBe(layout.code);
  });

  it('a software interrupt under TF is not followed by a trap', () => {
    const guest = guestWithHandlers();
    guest.set(field.GUEST_RFLAGS, 2 | TF);
    guest.run('cd41');
    expect(takenVector(guest)).toBe(0x41);
    expect(frame(guest, 3)[2] & BigInt(TF)).toBe(BigInt(TF));
  });
});
