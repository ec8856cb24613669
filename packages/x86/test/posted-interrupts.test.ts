import { exitReason, field } from '@nvmx/vmx-fields';
import { describe, expect, it } from 'vitest';
import { apicGuest, bitOf, IRR, SECONDARY, takenVector } from './apic-guest.ts';
import type { Guest, GuestOptions } from './guest.ts';

const IF = 0x200;
const DESCRIPTOR = 0x6_0000;
const POSTED_INTERRUPTS = 0x80;
const NOTIFICATION = 0xf2;

describe('posted interrupts', () => {
  const postedGuest = (o: GuestOptions = {}): Guest => {
    const guest = apicGuest(SECONDARY.DELIVERY, o);
    guest.enable(field.PIN_BASED_VM_EXEC_CONTROL, POSTED_INTERRUPTS);
    guest.set(field.POSTED_INTR_NV, NOTIFICATION);
    guest.set(field.POSTED_INTR_DESC_ADDR, guest.hpa(DESCRIPTOR));
    guest.set(field.GUEST_RFLAGS, 2 | IF);
    return guest;
  };
  const post = (guest: Guest, vector: number): void => {
    const at = DESCRIPTOR + 4 * (vector >> 5);
    guest.write32(at, (guest.read32(at) | (1 << (vector & 31))) >>> 0);
    guest.write32(DESCRIPTOR + 32, guest.read32(DESCRIPTOR + 32) | 1);
  };

  it('the notification vector moves PIR to VIRR, clears ON and delivers the highest', () => {
    const guest = postedGuest();
    for (const vector of [0x35, 0x91, 0x92]) post(guest, vector);
    guest.processor.raiseInterrupt(NOTIFICATION);
    expect(guest.run('90 f4')).toBe(exitReason.HLT);
    expect(takenVector(guest)).toBe(0x92);
    expect(guest.get(field.GUEST_INTR_STATUS)).toBe(0x9291);
    expect([bitOf(guest, IRR, 0x35), bitOf(guest, IRR, 0x91), bitOf(guest, IRR, 0x92)]).toEqual([true, true, false]);
    expect(guest.read32(DESCRIPTOR + 32) & 1).toBe(0);
    for (let word = 0; word < 8; word++) expect(guest.read32(DESCRIPTOR + 4 * word)).toBe(0);
  });

  it('is processed with IF clear, and delivered when IF is set', () => {
    const guest = postedGuest();
    guest.set(field.GUEST_RFLAGS, 2);
    post(guest, 0x45);
    guest.processor.raiseInterrupt(NOTIFICATION);
    expect(guest.run('90 90 f4')).toBe(exitReason.HLT);
    expect(guest.get(field.GUEST_INTR_STATUS)).toBe(0x45);
    guest.run('fb 90 90 f4');
    expect(takenVector(guest)).toBe(0x45);
  });

  it('another vector exits, acknowledged', () => {
    const guest = postedGuest();
    guest.processor.raiseInterrupt(NOTIFICATION - 1);
    expect(guest.run('90')).toBe(exitReason.EXTERNAL_INTERRUPT);
    expect(guest.get(field.VM_EXIT_INTR_INFO)).toBe(0x8000_0000 + NOTIFICATION - 1);
  });

  it('without the control the notification vector exits', () => {
    const guest = apicGuest(SECONDARY.DELIVERY);
    guest.set(field.POSTED_INTR_NV, NOTIFICATION);
    guest.processor.raiseInterrupt(NOTIFICATION);
    expect(guest.run('90')).toBe(exitReason.EXTERNAL_INTERRUPT);
  });

  it('wakes a guest that halts', () => {
    const guest = postedGuest();
    guest.set(field.GUEST_ACTIVITY_STATE, 1);
    post(guest, 0x45);
    guest.processor.raiseInterrupt(NOTIFICATION);
    guest.run('90');
    expect(takenVector(guest)).toBe(0x45);
  });

  it('a stale descriptor address really reaches the other frame, and the observer sees it', () => {
    const seen: number[] = [];
    const observer = {
      vmcsAddressUse: (word: number, hpa: number) => {
        if (word === field.POSTED_INTR_DESC_ADDR) seen.push(hpa);
      },
    };
    const guest = postedGuest({ observer });
    const other = 0x9_0000;
    guest.set(field.POSTED_INTR_DESC_ADDR, guest.hpa(other));
    guest.write32(other + 8, 0x20);
    guest.processor.raiseInterrupt(NOTIFICATION);
    guest.run('90 f4');
    expect(takenVector(guest)).toBe(0x45);
    expect(guest.read32(other + 8)).toBe(0);
    expect(seen).toEqual([guest.hpa(other)]);
  });
});
