import { field } from '@nvmx/vmx-fields';
import { RCX } from '../src/index.ts';
import { Guest, type GuestOptions } from './guest.ts';

/** A guest whose handlers put their vector into CL and halt. */
export function guestWithHandlers(o: GuestOptions = {}): Guest {
  const guest = new Guest(o);
  guest.addHandlers();
  return guest;
}

/** The vector whose handler ran. */
export const takenVector = (guest: Guest): number => guest.processor.registers.low(RCX) & 0xff;

/** Quadwords on the stack of the handler, top first. */
export function frame(guest: Guest, count: number): bigint[] {
  const top = guest.get(field.GUEST_RSP);
  return Array.from({ length: count }, (_, n) => guest.read64(top + 8 * n));
}
