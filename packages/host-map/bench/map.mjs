// What map, read and unmap of one page cost, beside the bare mapping and beside managed memory.
// Ratios of one run, rows in turns, medians. Unmanaged memory needs Linux; build first.
import { createManagedMemory, gfn, OperatingError } from '@nvmx/guest-memory';
import { createUnmanagedMemory } from '@nvmx/guest-memory/linux';
import { HostMap } from '@nvmx/host-map';
import { HostAddressSpace, VmMemory } from '@nvmx/mmu-events';
import { drive } from '@nvmx/sync';
import { interleave } from './interleave.mjs';

const PAGES = 64;
const FIELD = 0x80;
const SAMPLES = 101;

const managed = world(createManagedMemory({ guestFrames: 2 * PAGES }));
const rows = {
  'managed: map + read + unmap': { rounds: 20, run: (rounds) => mapReadUnmap(managed, rounds) },
  'managed: the mapping alone': { rounds: 500, run: (rounds) => mappingAlone(managed, rounds) },
};
const unmanaged = createUnmanaged();
if (unmanaged !== undefined) {
  rows['unmanaged: map + read + unmap'] = { rounds: 4, run: (rounds) => mapReadUnmap(unmanaged, rounds) };
  rows['unmanaged: the mapping alone'] = { rounds: 4, run: (rounds) => mappingAlone(unmanaged, rounds) };
}

const costs = interleave(rows, { samples: SAMPLES, operations: PAGES });
const [[, first]] = costs;
console.log(`host-map: ${PAGES} pages in turns, one thread, medians of ${SAMPLES} samples, ratio to the first row`);
for (const [name, cost] of costs) {
  console.log(`${(cost / first).toFixed(2).padStart(10)}  ${cost.toFixed(0).padStart(8)} ns  ${name}`);
}

function world(memory) {
  const host = new HostAddressSpace({ memory });
  const vm = new VmMemory({ host });
  drive(vm.setMemoryRegion({ slot: 0, gpa: 0, bytes: PAGES * 4096, hva: host.mmap({ pages: PAGES }) }));
  const gfns = Array.from({ length: PAGES }, (_, i) => gfn(i));
  const frames = gfns.map((frame) => drive(vm.faultIn(frame, { write: true })).pfn);
  return { memory, gfns, frames, map: new HostMap({ vm }) };
}

function createUnmanaged() {
  try {
    return world(createUnmanagedMemory({ guestFrames: 2 * PAGES }));
  } catch (error) {
    if (!(error instanceof OperatingError)) throw error;
    console.log(`host-map: no real mappings here: ${error.message}`);
    return undefined;
  }
}

/** What an L2 entry and exit do for one page. */
function mapReadUnmap({ map, gfns }, rounds) {
  let sum = 0;
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < gfns.length; i++) {
      drive(map.map(gfns[i]));
      sum = (sum + map.view.u32(FIELD)) | 0;
      map.unmap();
    }
  }
  return sum;
}

function mappingAlone({ memory, frames }, rounds) {
  let sum = 0;
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < frames.length; i++) {
      const mapping = memory.map(frames[i]);
      sum = (sum + mapping.view.u32(FIELD)) | 0;
      memory.unmap(mapping);
    }
  }
  return sum;
}
