import { field } from '@nvmx/vmx-fields';
import type { Cpu } from './cpu.ts';
import { evaluatePending, postVectors } from './virtual-apic.ts';

const { POSTED_INTR_DESC_ADDR, POSTED_INTR_NV } = field;
const PIN_POSTED_INTERRUPTS = 0x80;
const WORDS = 8;
const CONTROL_WORD = 8;
const OUTSTANDING = 1;
const ALIGNMENT = ~63;
const TWO_32 = 2 ** 32;

/** Whether an interrupt that arrives is the notification of the posted-interrupt descriptor. */
export function isNotification(cpu: Cpu, vector: number): boolean {
  return (cpu.pinControls & PIN_POSTED_INTERRUPTS) !== 0 && cpu.v[POSTED_INTR_NV] === vector;
}

/**
 * Moves the posted vectors into VIRR and evaluates. The descriptor may be written by other threads: each word is
 * exchanged, none is read and then cleared.
 * Source: SDM volume 3, "Posted-Interrupt Processing".
 */
export function processPostedInterrupts(cpu: Cpu): void {
  const { v } = cpu;
  const address = v[POSTED_INTR_DESC_ADDR + 1] * TWO_32 + ((v[POSTED_INTR_DESC_ADDR] & ALIGNMENT) >>> 0);
  cpu.observer?.vmcsAddressUse(POSTED_INTR_DESC_ADDR, address, true);
  if (address < cpu.memoryBytes) {
    const first = address >>> 2;
    Atomics.and(cpu.i32, first + CONTROL_WORD, ~OUTSTANDING);
    for (let word = 0; word < WORDS; word++) {
      const bits = Atomics.exchange(cpu.i32, first + word, 0);
      if (bits !== 0) postVectors(cpu, word, bits);
    }
  }
  evaluatePending(cpu);
}
