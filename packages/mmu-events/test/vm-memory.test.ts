import { createManagedMemory, type Gfn, type Gpa } from '@nvmx/guest-memory';
import { drive } from '@nvmx/sync';
import { expect, test } from 'vitest';
import { HostAddressSpace, VmMemory } from '../src/index.ts';

test('a guest page follows its host page through discard and migrate', () => {
  const memory = createManagedMemory({ guestFrames: 64 });
  const host = new HostAddressSpace({ memory });
  const vm = new VmMemory({ host });
  const hva = host.mmap({ pages: 4 });
  drive(vm.setMemoryRegion({ slot: 0, gpa: 0x10000, bytes: 4 * 4096, hva }));
  drive(vm.writeGuest(0x10ffe as Gpa, Uint8Array.of(1, 2, 3, 4)));
  const before = vm.currentPfn(0x10 as Gfn);
  const after = drive(host.migrate(hva));
  expect(after).not.toBe(before);
  expect(vm.currentPfn(0x10 as Gfn)).toBe(after);
  const bytes = new Uint8Array(4);
  drive(vm.readGuest(0x10ffe as Gpa, bytes));
  expect([...bytes]).toEqual([1, 2, 3, 4]);
  expect(vm.notifier.sequence).toBe(1);
  drive(vm.destroy());
  drive(host.destroy());
  expect(memory.frames.liveCount('guest')).toBe(0);
});
