import { field } from '@nvmx/vmx-fields';
import { RCX } from '../src/index.ts';
import { Guest, type GuestOptions } from './guest.ts';

/** Guest-physical addresses of the virtual-APIC page, the APIC-access page and the MSR bitmap. */
export const VAPIC = 0x4_0000;
export const APIC_PAGE = 0x5_0000;
export const MSR_BITMAP = 0x7_0000;

export const SECONDARY = { APIC_ACCESSES: 1, X2APIC: 0x10, REGISTERS: 0x100, DELIVERY: 0x200 } as const;
export const [TPR, PPR, EOI, ISR, IRR, ICR, SELF_IPI] = [0x80, 0xa0, 0xb0, 0x100, 0x200, 0x300, 0x3f0];

const TPR_SHADOW = 0x20_0000;
const MSR_BITMAPS = 0x1000_0000;

/** A 32-bit value as the bytes of an instruction. */
export function hex32(value: number): string {
  return [0, 8, 16, 24].map((shift) => ((value >>> shift) & 0xff).toString(16).padStart(2, '0')).join('');
}

/** A guest with a virtual-APIC page and, at its own address, the APIC-access page; handlers halt with CL = vector. */
export function apicGuest(secondary: number, o: GuestOptions = {}): Guest {
  const guest = new Guest(o);
  guest.enable(field.CPU_BASED_VM_EXEC_CONTROL, TPR_SHADOW | MSR_BITMAPS);
  guest.enable(field.SECONDARY_VM_EXEC_CONTROL, secondary);
  guest.set(field.VIRTUAL_APIC_PAGE_ADDR, guest.hpa(VAPIC));
  guest.set(field.APIC_ACCESS_ADDR, guest.hpa(APIC_PAGE));
  guest.set(field.MSR_BITMAP, guest.hpa(MSR_BITMAP));
  guest.addHandlers();
  return guest;
}

/** mov eax, [register]; mov [register], eax */
export const readOf = (offset: number): string => `8b0425${hex32(APIC_PAGE + offset)}`;
export const writeOf = (offset: number): string => `890425${hex32(APIC_PAGE + offset)}`;

export const register = (guest: Guest, offset: number): number => guest.read32(VAPIC + offset);

export function bitOf(guest: Guest, registers: number, vector: number): boolean {
  return ((register(guest, registers + (vector >> 5) * 16) >>> (vector & 31)) & 1) === 1;
}

export function setBit(guest: Guest, registers: number, vector: number): void {
  const at = VAPIC + registers + (vector >> 5) * 16;
  guest.write32(at, (guest.read32(at) | (1 << (vector & 31))) >>> 0);
}

/** Vector of the handler that halted. */
export const takenVector = (guest: Guest): number => guest.processor.registers.low(RCX) & 0xff;
