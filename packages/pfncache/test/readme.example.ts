import { createManagedMemory, gpa } from '@nvmx/guest-memory';
import { HostAddressSpace, VmMemory } from '@nvmx/mmu-events';
import { createPfncacheBackend } from '@nvmx/pfncache';
import { drive } from '@nvmx/sync';

const memory = createManagedMemory({ guestFrames: 64 });
const host = new HostAddressSpace({ memory });
const vm = new VmMemory({ host });
const hva = host.mmap({ pages: 16 });
drive(vm.setMemoryRegion({ slot: 0, gpa: 0x10_0000, bytes: 16 * 4096, hva }));

const backend = createPfncacheBackend(vm);
const page = backend.openPage({ role: 'pi-desc', vcpu: 0, access: 'write', usedByHardware: true });

// An L2 entry: find the page, program its frame, remember the stamp.
if (!page.tryHold(gpa(0x10_0000))) drive(page.hold(gpa(0x10_0000)));
const programmed = { pfn: page.pfn, stamp: page.stamp() };

// L0 itself: lock and check, use, mark dirty and unlock. Plain calls.
if (page.beginUse()) {
  page.view.setU32(0, 1);
  page.endUse({ wrote: true });
}
console.log(page.isCurrent(programmed.stamp)); // true

// The host moves the page. Whoever asks is told, with no lock and no sleep.
drive(host.migrate(hva));
console.log(page.isCurrent(programmed.stamp), page.beginUse()); // false false

// Holding it again heals the cache, and does not make the old frame right.
drive(page.hold(gpa(0x10_0000)));
console.log(page.isCurrent(programmed.stamp), page.pfn !== programmed.pfn); // false true

drive(backend.close());
