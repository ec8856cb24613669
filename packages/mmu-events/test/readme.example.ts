import { createManagedMemory, gfn, gpa, hva, PAGE_SIZE } from '@nvmx/guest-memory';
import { HostAddressSpace, VmMemory } from '@nvmx/mmu-events';
import { drive } from '@nvmx/sync';

// A host with some memory, the address space of its VMM, and a VM with one memslot of four pages.
const host = new HostAddressSpace({ memory: createManagedMemory({ guestFrames: 64 }) });
const vm = new VmMemory({ host });
const start = host.mmap({ pages: 4 });
drive(vm.setMemoryRegion({ slot: 0, gpa: 0x10000, bytes: 4 * PAGE_SIZE, hva: start, logDirtyPages: true }));

// A guest page follows its host page: another frame, the same bytes.
drive(vm.writeGuest(gpa(0x10ffe), Uint8Array.of(1, 2, 3, 4)));
const before = vm.currentPfn(gfn(0x10));
const after = drive(host.migrate(start));
console.log(before === after, vm.currentPfn(gfn(0x10)) === after); // false true
console.log(vm.harvestDirty(0)[0]); // 3

// Whoever keeps translations of guest frames is told before the host takes a page away.
const zapped: string[] = [];
vm.addSecondaryMmu({ zapGfnRange: (first, end) => zapped.push(`${first}..${end}`) });
const sequence = vm.notifier.sequence;
drive(host.discard({ start, end: hva(start + PAGE_SIZE) }));
console.log(zapped, vm.notifier.retry({ sequence, gfn: gfn(0x10) })); // 16..17 true
