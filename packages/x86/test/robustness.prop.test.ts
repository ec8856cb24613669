import { exitReason, exitReasonName, field } from '@nvmx/vmx-fields';
import { describe, expect, it } from 'vitest';
import { instructionTable } from '../src/index.ts';
import { Guest, layout } from './guest.ts';

const CODE_BYTES = 256;
const PROGRAMS = Number(process.env.X86_FUZZ_PROGRAMS ?? 150);
const ENTRIES_PER_PROGRAM = 6;
const INSTRUCTIONS_MAX = 300;
const FAILED_ENTRY = 0x8000_0000;

/** A fixed sequence, so that a failure can be repeated by its program number. */
class Sequence {
  #state: number;
  constructor(seed: number) {
    this.#state = seed;
  }
  next(): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return this.#state >>> 0;
  }
  below(count: number): number {
    return this.next() % count;
  }
}

const prefixes = [0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x2e, 0x64, 0x65, 0x40, 0x41, 0x44, 0x48, 0x49, 0x4c, 0x4f];

/** Bytes that are mostly instructions of the table with random operands. */
function randomCode(sequence: Sequence): number[] {
  const bytes: number[] = [];
  while (bytes.length < CODE_BYTES) {
    while (sequence.below(3) === 0) bytes.push(prefixes[sequence.below(prefixes.length)]);
    const { opcode } = instructionTable[sequence.below(instructionTable.length)];
    if (opcode >= 0x100) bytes.push(0x0f);
    if (opcode >= 0x300) bytes.push(0x3a);
    else if (opcode >= 0x200) bytes.push(0x38);
    bytes.push(opcode & 0xff);
    for (let n = sequence.below(7); n > 0; n--) bytes.push(sequence.below(256));
  }
  return bytes;
}

/** Pointers into the guest's structures and arbitrary values. */
function randomValue(sequence: Sequence): bigint {
  switch (sequence.below(4)) {
    case 0:
      return BigInt(sequence.next() % 0x8_0000);
    case 1:
      return (BigInt(sequence.next()) << 32n) | BigInt(sequence.next());
    case 2:
      return BigInt(layout.data + sequence.below(4096));
    default:
      return BigInt(sequence.below(64));
  }
}

function randomGuest(sequence: Sequence): Guest {
  const guest = new Guest();
  const allowed = [0, 0x0020_0000, 0x1000_0000, 0x0120_0000, 0x3bf9_9e84, 0x0020_0004, 0x0800_0000][sequence.below(7)];
  guest.enable(field.CPU_BASED_VM_EXEC_CONTROL, allowed);
  guest.enable(field.SECONDARY_VM_EXEC_CONTROL, [0, 1, 0x301, 0x311, 0x1008, 0x84][sequence.below(6)]);
  guest.set(field.VIRTUAL_APIC_PAGE_ADDR, guest.hpa(0x4_0000));
  guest.set(field.APIC_ACCESS_ADDR, guest.hpa(layout.data));
  guest.set(field.MSR_BITMAP, guest.hpa(0x5_0000));
  guest.set(field.EXCEPTION_BITMAP, sequence.below(2) === 0 ? 0 : sequence.next());
  guest.set(field.GUEST_RFLAGS, (sequence.next() & 0x4_4fd5) | 2);
  guest.set(field.GUEST_CR4, 0x2020 | (sequence.next() & 0x31_0b9f));
  for (let vector = 0; vector < 40; vector++)
    guest.setGate(vector, layout.handlers + sequence.below(4096), { ist: sequence.below(2) });
  if (sequence.below(3) === 0) guest.becomeUser();
  return guest;
}

describe('a guest cannot make the processor throw or hang', () => {
  it(`${PROGRAMS} programs of random instructions end in known exits`, () => {
    const known = new Set<number>(Object.values(exitReason));
    for (let program = 1; program <= PROGRAMS; program++) {
      const sequence = new Sequence(program * 2654435761);
      const guest = randomGuest(sequence);
      guest.memory.u8.set(randomCode(sequence), guest.hpa(layout.code));
      guest.memory.u8.set(randomCode(sequence), guest.hpa(layout.handlers));
      for (let n = 0; n < 16; n++) if (n !== 4) guest.processor.registers.setBig(n, randomValue(sequence));
      guest.set(field.GUEST_RIP, layout.code + sequence.below(16));
      for (let entry = 0; entry < ENTRIES_PER_PROGRAM; entry++) {
        if (sequence.below(4) === 0) guest.processor.raiseInterrupt(sequence.below(256));
        const reason = guest.resume({ instructionsMax: INSTRUCTIONS_MAX });
        if (reason >= FAILED_ENTRY) break;
        expect(known.has(reason), `program ${program}: ${exitReasonName(reason)}`).toBe(true);
        guest.set(field.GUEST_RIP, layout.code + sequence.below(CODE_BYTES));
      }
    }
  });
});
