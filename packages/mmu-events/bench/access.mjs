import { createManagedMemory, PAGE_SIZE } from '@nvmx/guest-memory';
import { HostAddressSpace, VmMemory } from '@nvmx/mmu-events';
import { drive } from '@nvmx/sync';
import { print, raceCalls } from './measure.mjs';

/** Accesses to pages that are present: the paths that every exit takes. */
export function benchAccess() {
  const memory = createManagedMemory({ guestFrames: 64, kernelFrames: 8 });
  const host = new HostAddressSpace({ memory });
  const vm = new VmMemory({ host });
  const hva = host.mmap({ pages: 4 });
  drive(vm.setMemoryRegion({ slot: 0, gpa: 0, bytes: 4 * PAGE_SIZE, hva, logDirtyPages: true }));
  for (let page = 0; page < 4; page++) drive(host.fault(hva + page * PAGE_SIZE, write));
  const bytes = new Uint8Array(8);
  const install = () => {};
  const pieces = [
    ['host.tryFault()', () => host.tryFault(hva, write)],
    ['drive(host.fault())', () => drive(host.fault(hva, write))],
    ['vm.currentPfn()', () => vm.currentPfn(1)],
    ['vm.markDirty()', () => vm.markDirty(1)],
    ['vm.tryReadGuest(), 8 bytes', () => vm.tryReadGuest(0x1008, bytes)],
    ['drive(vm.readGuest()), 8 bytes', () => drive(vm.readGuest(0x1008, bytes))],
    ['vm.tryWriteGuest(), 8 bytes', () => vm.tryWriteGuest(0x1008, bytes)],
    ['drive(vm.writeGuest()), 8 bytes', () => drive(vm.writeGuest(0x1008, bytes))],
    ['drive(vm.pageFault())', () => drive(vm.pageFault(1, { write: true, install }))],
    ['drive(host.migrate())', () => drive(host.migrate(hva))],
  ];
  print('a present page', raceCalls(pieces, { count: 10_000 }));
}

const write = { write: true };
