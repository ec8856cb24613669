import { createManagedMemory, PAGE_SIZE } from '@nvmx/guest-memory';
import { HostAddressSpace, VmMemory } from '@nvmx/mmu-events';
import { drive } from '@nvmx/sync';

const FIRST_GFN = 0x10000;
const FIRST_HVA = 0x10_0000_0000;

/** A VM with `slots` slots of `pages` pages, one every `stride` frames. Nothing is mapped behind them. */
export function vmWithSlots({ slots, pages, stride = pages * 2 }) {
  const memory = createManagedMemory({ guestFrames: 64, kernelFrames: 8 });
  const vm = new VmMemory({ host: new HostAddressSpace({ memory }) });
  const gfnOfSlot = (id) => FIRST_GFN + id * stride;
  const regionOf = (id) => ({
    slot: id,
    gpa: gfnOfSlot(id) * PAGE_SIZE,
    bytes: pages * PAGE_SIZE,
    hva: FIRST_HVA + id * pages * 2 * PAGE_SIZE,
  });
  for (let id = 0; id < slots; id++) drive(vm.setMemoryRegion(regionOf(id)));
  return { vm, gfnOfSlot, regionOf };
}
