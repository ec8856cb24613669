import { createManagedMemory, gpa } from '@nvmx/guest-memory';
import { HostAddressSpace, VmMemory } from '@nvmx/mmu-events';
import { Vcpu } from '@nvmx/nested-vmx';
import { createPfncacheBackend } from '@nvmx/pfncache';
import { drive } from '@nvmx/sync';

const host = new HostAddressSpace({ memory: createManagedMemory({ guestFrames: 64 }) });
const vm = new VmMemory({ host });
drive(vm.setMemoryRegion({ slot: 0, gpa: 0, bytes: 16 * 4096, hva: host.mmap({ pages: 16 }) }));

const written: number[] = [];
const io = { read: () => 0xff, write: (_port: number, _bytes: number, value: number) => written.push(value) };
const noInterrupts = { highestPending: () => -1, acknowledge() {}, isPending: () => false, clearPending() {} };
const apic = { id: 0, taskPriority: 0, readMsr: () => undefined, writeMsr: () => false, ...noInterrupts };
const vcpu = new Vcpu({ id: 0, vm, backend: createPfncacheBackend(vm), io, apic });

const table = (entry: number) => Uint8Array.of(entry & 0xff, entry >> 8, 0, 0, 0, 0, 0, 0);
drive(vm.writeGuest(gpa(0x1000), table(0x2003))); // the top table: one entry
drive(vm.writeGuest(gpa(0x2000), table(0x0083))); // one page of 1 GiB, mapped to itself
drive(vm.writeGuest(gpa(0x3000), Uint8Array.of(0xb0, 0x2a, 0xe6, 0x80, 0xf4))); // mov al, 42; out 0x80, al; hlt

const [CODE64, DATA, TSS, UNUSABLE] = [0xa09b, 0xc093, 0x8b, 0x1_0000];
const segments = { GUEST_CS_AR_BYTES: CODE64, GUEST_SS_AR_BYTES: DATA, GUEST_TR_AR_BYTES: TSS };
const unusable = Object.fromEntries(
  ['DS', 'ES', 'FS', 'GS', 'LDTR'].map((name) => [`GUEST_${name}_AR_BYTES`, UNUSABLE]),
);
const paging = { GUEST_CR0: 0x8000_0011, GUEST_CR3: 0x1000, GUEST_CR4: 0x20, GUEST_IA32_EFER: 0x500 };
vcpu.reset({ fields: { GUEST_RIP: 0x3000, GUEST_CS_LIMIT: 0xffff_ffff, ...segments, ...unusable, ...paging } });

console.log(vcpu.run().kind, written); // halted [ 42 ]
