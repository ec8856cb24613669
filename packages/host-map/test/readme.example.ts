import { createManagedMemory, gfn, gpa } from '@nvmx/guest-memory';
import { createHostMapBackend } from '@nvmx/host-map';
import { HostAddressSpace, VmMemory } from '@nvmx/mmu-events';
import { drive } from '@nvmx/sync';

const memory = createManagedMemory({ guestFrames: 64 });
const host = new HostAddressSpace({ memory });
const vm = new VmMemory({ host });
const hva = host.mmap({ pages: 16 });
drive(vm.setMemoryRegion({ slot: 0, gpa: 0x10_0000, bytes: 16 * 4096, hva }));

const backend = createHostMapBackend(vm);
const page = backend.openPage({ role: 'virtual-apic', vcpu: 0, access: 'write', usedByHardware: true });

// One run of L2: map, use, unmap.
const outcome = drive(page.hold(gpa(0x10_0000)));
console.log(outcome.ok); // true
if (page.beginUse()) {
  page.view.setU32(0x80, 0x20);
  page.endUse({ wrote: true });
}
console.log(memory.frames.pinned(page.pfn), memory.liveMappings); // true 1

// The map follows nothing: the guest has another page here now, and the old one stays in use.
drive(host.discard({ start: hva, end: (hva + 4096) as typeof hva }));
console.log(page.isCurrent(page.stamp()), page.pfn === vm.currentPfn(gfn(0x100))); // true false

page.release({ dirty: true });
console.log(page.beginUse(), memory.liveMappings); // false 0
drive(backend.close());
