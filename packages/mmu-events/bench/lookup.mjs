import { PAGE_SIZE } from '@nvmx/guest-memory';
import { nanoseconds, print, sequence } from './measure.mjs';
import { vmWithSlots } from './vm.mjs';

const QUERIES = 1 << 16;

/** Memslots.find() over slots with holes between them; random, and 95 % in the slot of the lookup before. */
export function benchLookup() {
  for (const pages of [1, 16, 512]) {
    const figures = [];
    for (const slots of [1, 512, 8192, 32_764]) {
      const { vm, gfnOfSlot } = vmWithSlots({ slots, pages });
      const random = randomGfns(slots, pages, gfnOfSlot);
      figures.push([`${slots} slots, random`, lookup(vm.memslots, random)]);
      figures.push([`${slots} slots, 95 % local`, lookup(vm.memslots, localGfns(slots, pages, gfnOfSlot))]);
      if (slots !== 8192) continue;
      figures.push(['8192 slots, random, gfnToHva()', toHva(vm, random)]);
      figures.push(['8192 slots, random, binary search', binarySearch(vm.memslots, random)]);
    }
    print(`Memslots.find(), slots of ${(pages * PAGE_SIZE) / 1024} KiB with holes between`, figures);
  }
  const { vm, gfnOfSlot } = vmWithSlots({ slots: 8192, pages: 1, stride: 2 ** 26 });
  const far = [['random', lookup(vm.memslots, randomGfns(8192, 1, gfnOfSlot))]];
  print('Memslots.find(), 8192 slots of one page spread over 2^51 bytes', far);
}

function lookup(memslots, gfns) {
  let found = 0;
  const ns = nanoseconds((count) => {
    for (let i = 0; i < count; i++) if (memslots.find(gfns[i & (QUERIES - 1)]) !== undefined) found++;
  });
  if (found === 0) throw new Error('every lookup must find its slot');
  return ns;
}

/** The same lookups down to the host address, which touches the slot. */
function toHva(vm, gfns) {
  let sum = 0;
  const ns = nanoseconds((count) => {
    for (let i = 0; i < count; i++) sum += vm.gfnToHva(gfns[i & (QUERIES - 1)], read);
  });
  if (sum === 0) throw new Error('every lookup must find its address');
  return ns;
}

/** What stands in for the radix when somebody keeps slots in a sorted array: the figure to compare with. */
function binarySearch(memslots, gfns) {
  const slots = [...memslots];
  const bases = Float64Array.from(slots, (slot) => slot.baseGfn);
  const find = (gfn) => {
    let low = 0;
    let high = bases.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (bases[middle] <= gfn) low = middle + 1;
      else high = middle;
    }
    return slots[low - 1]?.contains(gfn) === true ? slots[low - 1] : undefined;
  };
  return lookup({ find }, gfns);
}

const read = { write: false };

function randomGfns(slots, pages, gfnOfSlot) {
  const ids = sequence(QUERIES, slots);
  const offsets = sequence(QUERIES, pages, 7);
  return ids.map((id, i) => gfnOfSlot(id) + offsets[i]);
}

function localGfns(slots, pages, gfnOfSlot) {
  const chances = sequence(QUERIES, 100, 3);
  const ids = sequence(QUERIES, slots);
  const offsets = sequence(QUERIES, pages, 7);
  let slot = 0;
  return ids.map((id, i) => {
    if (chances[i] >= 95) slot = id;
    return gfnOfSlot(slot) + offsets[i];
  });
}
