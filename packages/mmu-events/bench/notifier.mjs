import { createManagedMemory, PAGE_SIZE } from '@nvmx/guest-memory';
import { HostAddressSpace, VmMemory } from '@nvmx/mmu-events';
import { drive } from '@nvmx/sync';
import { print, raceCalls } from './measure.mjs';

/** A cache that stands for one page and counts its invalidations. */
class Cache {
  constructor(page) {
    this.page = page;
    this.invalidations = 0;
  }
  hvaPage() {
    return this.page;
  }
  *invalidateRange() {
    this.invalidations++;
  }
}

/** One host event on one page, with caches on other pages, and with a cache that it hits. */
export function benchNotifier() {
  for (const hit of [false, true]) {
    const pieces = [0, 10, 100, 1000, 10_000].map((idle) => [`${idle} idle caches`, event(idle, hit)]);
    print(`discard of one page, ${hit ? 'one cache hit' : 'no cache hit'}`, raceCalls(pieces, { count: 5000 }));
  }
}

function event(idle, hit) {
  const memory = createManagedMemory({ guestFrames: 64, kernelFrames: 8 });
  const host = new HostAddressSpace({ memory });
  const vm = new VmMemory({ host });
  const hva = host.mmap({ pages: 16 });
  drive(vm.setMemoryRegion({ slot: 0, gpa: 0, bytes: 16 * PAGE_SIZE, hva }));
  for (let i = 0; i < idle; i++) vm.registerCache(new Cache(hva / PAGE_SIZE + 100 + i));
  if (hit) vm.registerCache(new Cache(hva / PAGE_SIZE));
  const range = { start: hva, end: hva + PAGE_SIZE };
  return () => drive(host.discard(range));
}
