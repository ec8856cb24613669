// A 64-bit guest with an identity EPT and 2-MiB pages, for the benchmarks: built packages, no test code.
import { createManagedMemory, pfnToHpa } from '@nvmx/guest-memory';
import { field, Vmcs } from '@nvmx/vmx-fields';
import { Processor } from '@nvmx/x86';

const PAGE = 4096;
const KERNEL_FRAMES = 32;
const FRAMES = 512;
const CODE = 0x1_0000;
const TABLES = 0x1000;

/** Guest-physical page n is guest frame n; code lies at 0x10000, data at 0x30000, the stack below 0x20000. */
export function createGuest({ code, proc = 0x80 }) {
  const memory = createManagedMemory({ guestFrames: FRAMES, kernelFrames: KERNEL_FRAMES });
  const page = () => pfnToHpa(memory.frames.allocate('kernel'));
  const [root, third, second, first] = [page(), page(), page(), page()];
  memory.u32[root / 4] = third | 7;
  memory.u32[third / 4] = second | 7;
  memory.u32[second / 4] = first | 7;
  for (let n = 0; n < FRAMES; n++) memory.u32[first / 4 + 2 * n] = pfnToHpa(memory.frames.allocate('guest')) | 0x37;
  const hpa = (gpa) => KERNEL_FRAMES * PAGE + gpa;
  const write64 = (gpa, value) => {
    memory.u64[hpa(gpa) / 8] = BigInt(value);
  };
  write64(TABLES, (TABLES + PAGE) | 3);
  write64(TABLES + PAGE, (TABLES + 2 * PAGE) | 3);
  write64(TABLES + 2 * PAGE, 0x83);
  memory.u8.set(Buffer.from(code.replace(/\s+/g, ''), 'hex'), hpa(CODE));
  const vmcs = new Vmcs();
  const set = (word, value) => vmcs.writeBig(word, BigInt(value));
  set(field.PIN_BASED_VM_EXEC_CONTROL, 1);
  set(field.CPU_BASED_VM_EXEC_CONTROL, 0x8000_0000 + proc);
  set(field.SECONDARY_VM_EXEC_CONTROL, 0x22);
  set(field.VM_EXIT_CONTROLS, 0x8000);
  set(field.VM_ENTRY_CONTROLS, 0x8200);
  set(field.VIRTUAL_PROCESSOR_ID, 1);
  set(field.EPT_POINTER, root | 0x1e);
  set(field.VMCS_LINK_POINTER, 0xffff_ffff_ffff_ffffn);
  set(field.GUEST_CR0, 0x8001_0031);
  set(field.GUEST_CR3, TABLES);
  set(field.GUEST_CR4, 0x2020);
  set(field.GUEST_IA32_EFER, 0xd01);
  set(field.GUEST_RFLAGS, 2);
  set(field.GUEST_RSP, 0x2_0000);
  set(field.GUEST_RIP, CODE);
  set(field.GUEST_CS_AR_BYTES, 0xa09b);
  set(field.GUEST_SS_AR_BYTES, 0xc093);
  set(field.GUEST_TR_AR_BYTES, 0x8b);
  return { memory, vmcs, processor: new Processor({ memory }) };
}
