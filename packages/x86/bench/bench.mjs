// Instructions per second in small loops, and the cost of a VM exit and entry. Needs built packages.
import { field } from '@nvmx/vmx-fields';
import { createGuest } from './guest.mjs';

const INSTRUCTIONS = 20_000_000;
const ROUND_TRIPS = 500_000;

/** Endless loops, as machine code. */
const loops = [
  // l: add rax, rbx; xor rcx, rax; sub edx, 7; lea rsi, [rsi+rax*2+3]; dec edi; jmp l
  ['ALU, 64 and 32 bits', '4801d8 4831c1 83ea07 488d744603 ffcf ebef'],
  // mov rbx, 0x30000; l: mov rax, [rbx+8]; add rax, 1; mov [rbx+8], rax; inc dword [rbx]; add [rbx+16], rax; dec ecx; jmp l
  ['load, add, store', '48c7c300000300 488b4308 4883c001 48894308 ff03 48014310 ffc9 ebeb'],
  // l: call f; dec ecx; jmp l; f: push rbx; mov rbx, rsp; pop rbx; ret
  ['call, push, pop, return', 'e804000000 ffc9 ebf7 53 4889e3 5b c3'],
  // l: mov ecx, 8; m: shl rax, 3; shr edx, 1; test cl, 1; jz n; inc rbx; n: movzx esi, al; cmp rsi, rcx; dec ecx; jnz m; jmp l
  ['branches and shifts', 'b908000000 48c1e003 d1ea f6c101 7403 48ffc3 0fb6f0 4839ce ffc9 75e9 ebe2'],
];

for (const [name, code] of loops) {
  const guest = createGuest({ code });
  const times = [];
  for (let n = 0; n < 5; n++) {
    const started = process.hrtime.bigint();
    guest.processor.enter(guest.vmcs, { instructionsMax: INSTRUCTIONS });
    times.push(Number(process.hrtime.bigint() - started));
  }
  const best = Math.min(...times);
  console.log(`${name.padEnd(28)} ${((INSTRUCTIONS / best) * 1000).toFixed(1).padStart(7)} million instructions/s`);
}

/** Exits that the host only skips: RIP is moved behind the instruction. */
const exits = [
  ['vmcall', '0f01c1 ebfb'],
  ['cpuid', '0fa2 ebfc'],
  ['hlt', 'f4 ebfd'],
];

for (const [name, code] of exits) {
  const { processor, vmcs } = createGuest({ code });
  const { words } = vmcs;
  const times = [];
  for (let n = 0; n < 5; n++) {
    const started = process.hrtime.bigint();
    for (let trip = 0; trip < ROUND_TRIPS; trip++) {
      processor.enter(vmcs);
      words[field.GUEST_RIP] += words[field.VM_EXIT_INSTRUCTION_LEN];
    }
    times.push(Number(process.hrtime.bigint() - started));
  }
  console.log(`entry, 2 instructions, ${name} exit ${(Math.min(...times) / ROUND_TRIPS).toFixed(0).padStart(6)} ns`);
}
