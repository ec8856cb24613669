// What a hit costs beside a real map, read and unmap of the same page: the question of the whole house.
// Ratios of one run, rows in turns, medians. Needs Linux; build first.
// Page i is read at line i: one offset in 64 pages is one set of the L1 cache, which would measure misses of that set.
import { gpa, OperatingError } from '@nvmx/guest-memory';
import { createUnmanagedMemory } from '@nvmx/guest-memory/linux';
import { HostAddressSpace, VmMemory } from '@nvmx/mmu-events';
import { createPfncacheBackend } from '@nvmx/pfncache';
import { drive } from '@nvmx/sync';
import { interleave } from './interleave.mjs';

const PAGES = 64;
const SAMPLES = 201;

const { memory, pages, gpas, frames } = world();
const real = 'real map + read + unmap';
const rows = {
  [real]: { rounds: 4, run: mapReadUnmap },
  'cached check + read, lock held': { rounds: 3_000, run: checkAndRead },
  'hit: lock + check + read + unlock': { rounds: 3_000, run: use },
  'hit with tryHold before it': { rounds: 3_000, run: holdAndUse },
  'entry test: isCurrent(stamp)': { rounds: 3_000, run: enter },
  'miss: invalidated, and held again': { rounds: 6, run: invalidateAndHold },
  'the loop alone': { rounds: 3_000, run: loop },
};

const costs = interleave(rows, { samples: SAMPLES, operations: PAGES });
const loopCost = costs.get('the loop alone');
console.log(`pfncache: ${PAGES} pages of unmanaged memory in turns, one thread, medians of ${SAMPLES} samples`);
console.log('        ns   map/row   less the loop');
for (const [name, cost] of costs) {
  const ratio = costs.get(real) / cost;
  const net = (costs.get(real) - loopCost) / (cost - loopCost);
  const ratios = name === 'the loop alone' ? '' : `${ratio.toFixed(0).padStart(9)}x${net.toFixed(0).padStart(14)}x`;
  console.log(`${cost.toFixed(2).padStart(10)}${ratios.padEnd(26)}  ${name}`);
}
memory.close();

function world() {
  const unmanaged = createMemory();
  const host = new HostAddressSpace({ memory: unmanaged });
  const vm = new VmMemory({ host });
  const region = { slot: 0, gpa: 0, bytes: PAGES * 4096, hva: host.mmap({ pages: PAGES }) };
  drive(vm.setMemoryRegion(region));
  const backend = createPfncacheBackend(vm);
  const addresses = Array.from({ length: PAGES }, (_, i) => gpa(i * 4096));
  const held = addresses.map((address) => {
    const page = backend.openPage({ role: 'virtual-apic', vcpu: 0, access: 'write', usedByHardware: true });
    drive(page.hold(address));
    return page;
  });
  return {
    memory: unmanaged,
    pages: held,
    gpas: addresses,
    frames: held.map((page) => page.pfn),
  };
}

function createMemory() {
  try {
    return createUnmanagedMemory({ guestFrames: 2 * PAGES, windows: 2 * PAGES });
  } catch (error) {
    if (!(error instanceof OperatingError)) throw error;
    console.log(`pfncache: no real mappings here: ${error.message}`);
    process.exit(0);
  }
}

function mapReadUnmap(rounds) {
  let sum = 0;
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < frames.length; i++) {
      const mapping = memory.map(frames[i]);
      sum = (sum + mapping.view.u32(i << 6)) | 0;
      memory.unmap(mapping);
    }
  }
  return sum;
}

/** kvm_gpc_check() and the access: what a reader pays for each page while it holds the locks. */
function checkAndRead(rounds) {
  const caches = pages.map((page) => page.cache);
  for (const { lock } of caches) if (!lock.tryRead()) throw new Error('a lock is taken');
  let sum = 0;
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < caches.length; i++) {
      const cache = caches[i];
      if (!cache.check(4)) throw new Error('a page went away');
      sum = (sum + cache.view.u32(i << 6)) | 0;
    }
  }
  for (const { lock } of caches) lock.endRead();
  return sum;
}

/** beginUse() and endUse(): what a single access of L0 pays. */
function use(rounds) {
  const held = pages;
  let sum = 0;
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < held.length; i++) {
      const page = held[i];
      if (!page.beginUse()) throw new Error('a page went away');
      sum = (sum + page.view.u32(i << 6)) | 0;
      page.endUse();
    }
  }
  return sum;
}

function holdAndUse(rounds) {
  const held = pages;
  const addresses = gpas;
  let sum = 0;
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < held.length; i++) {
      const page = held[i];
      if (!page.tryHold(addresses[i]) || !page.beginUse()) throw new Error('a page went away');
      sum = (sum + page.view.u32(i << 6)) | 0;
      page.endUse();
    }
  }
  return sum;
}

function enter(rounds) {
  const held = pages;
  let sum = 0;
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < held.length; i++) {
      const page = held[i];
      if (page.isCurrent(page.stamp())) sum++;
    }
  }
  return sum;
}

function invalidateAndHold(rounds) {
  let sum = 0;
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < pages.length; i++) {
      const { cache } = pages[i];
      drive(cache.invalidateRange({ start: cache.hva, end: cache.hva + 4096, mayBlock: true, reason: 'bench' }));
      drive(pages[i].hold(gpas[i]));
      sum += cache.epoch;
    }
  }
  return sum;
}

function loop(rounds) {
  const held = pages;
  let sum = 0;
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < held.length; i++) sum = (sum + held[i].request.vcpu) | 0;
  }
  return sum;
}
