import { field } from '@nvmx/vmx-fields';
import { expect, it } from 'vitest';
import { RAX, RCX } from '../src/index.ts';
import { Guest, layout } from './guest.ts';

it('runs a loop to HLT', () => {
  const guest = new Guest();
  // mov ecx, 100; xor eax, eax; l: add rax, rcx; dec ecx; jnz l; hlt
  const reason = guest.run('b964000000 31c0 4801c8 ffc9 75f9 f4');
  expect(reason).toBe(12);
  expect(guest.processor.registers.big(RAX)).toBe(5050n);
  expect(guest.processor.registers.big(RCX)).toBe(0n);
  expect(guest.big(field.GUEST_RIP)).toBe(BigInt(layout.code + 14));
  expect(guest.get(field.VM_EXIT_INSTRUCTION_LEN)).toBe(1);
  expect(guest.processor.instructions).toBe(302);
});
