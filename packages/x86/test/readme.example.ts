import { createManagedMemory, type FrameZone, pfnToHpa } from '@nvmx/guest-memory';
import { exitReasonName, field, Vmcs } from '@nvmx/vmx-fields';
import { Processor, RAX } from '@nvmx/x86';

const memory = createManagedMemory({ guestFrames: 3, kernelFrames: 8 });
const frames = (zone: FrameZone, count: number) =>
  Array.from({ length: count }, () => pfnToHpa(memory.frames.allocate(zone)));

// EPT: four levels, whose last maps guest-physical pages 0, 1 and 2 to three frames.
const ept = frames('kernel', 4);
const pages = frames('guest', 3);
for (let level = 0; level < 3; level++) memory.u32[ept[level] / 4] = ept[level + 1] | 7;
for (let n = 0; n < 3; n++) memory.u32[ept[3] / 4 + 2 * n] = pages[n] | 0x37;

// The guest: PML4 in page 0, PDPT with one 1-GiB page in page 1, code in page 2: imul eax, eax, 7; hlt.
memory.u32[pages[0] / 4] = 0x1003;
memory.u32[pages[1] / 4] = 0x83;
memory.u8.set([0x6b, 0xc0, 0x07, 0xf4], pages[2]);

const vmcs = new Vmcs();
const state: readonly (readonly [number, number])[] = [
  [field.CPU_BASED_VM_EXEC_CONTROL, 0x8000_0080], // HLT exiting, secondary controls
  [field.SECONDARY_VM_EXEC_CONTROL, 0x2], // EPT
  [field.VM_ENTRY_CONTROLS, 0x8200], // IA-32e mode, load EFER
  [field.GUEST_CR0, 0x8000_0021],
  [field.GUEST_CR4, 0x2020],
  [field.GUEST_IA32_EFER, 0x500],
  [field.GUEST_RFLAGS, 2],
  [field.GUEST_RIP, 0x2000],
  [field.GUEST_CS_AR_BYTES, 0xa09b],
  [field.GUEST_SS_AR_BYTES, 0xc093],
  [field.GUEST_TR_AR_BYTES, 0x8b],
];
for (const [word, value] of state) vmcs.write32(word, value);
vmcs.writeBig(field.VMCS_LINK_POINTER, 0xffff_ffff_ffff_ffffn);
vmcs.write64(field.EPT_POINTER, ept[0] | 0x1e, 0);

const processor = new Processor({ memory });
processor.registers.set(RAX, 6, 0);
console.log(exitReasonName(processor.enter(vmcs))); // HLT
console.log(processor.registers.low(RAX)); // 42
console.log(vmcs.read32(field.GUEST_RIP).toString(16)); // 2003

// Take the page of the code away: the next fetch is an EPT violation, at guest-physical 0x2003.
memory.u32[ept[3] / 4 + 4] = 0;
processor.invalidate({ kind: 'all' });
console.log(exitReasonName(processor.enter(vmcs))); // EPT_VIOLATION
console.log(vmcs.read32(field.GUEST_PHYSICAL_ADDRESS).toString(16)); // 2003
