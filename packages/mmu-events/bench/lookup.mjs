import { PAGE_SIZE } from '@nvmx/guest-memory';
import { print, race, sequence } from './measure.mjs';
import { vmWithSlots } from './vm.mjs';

const QUERIES = 1 << 16;
const read = { write: false };

/** Memslots.find() over slots with holes between them; random, and 95 % in the slot of the lookup before. */
export function benchLookup() {
  for (const pages of [1, 16, 512]) {
    const pieces = [];
    for (const slots of [1, 512, 8192, 32_764]) {
      const { vm, gfnOfSlot } = vmWithSlots({ slots, pages });
      const random = randomGfns(slots, pages, gfnOfSlot);
      pieces.push([`${slots} slots, random`, lookup(vm.memslots, random)]);
      pieces.push([`${slots} slots, 95 % local`, lookup(vm.memslots, localGfns(slots, pages, gfnOfSlot))]);
      if (slots !== 8192) continue;
      pieces.push(['8192 slots, random, gfnToHva()', toHva(vm, random)]);
      pieces.push(['8192 slots, random, binary search', binarySearch(vm.memslots, random)]);
    }
    print(`Memslots.find(), slots of ${(pages * PAGE_SIZE) / 1024} KiB with holes between`, race(pieces));
  }
  const { vm, gfnOfSlot } = vmWithSlots({ slots: 8192, pages: 1, stride: 2 ** 26 });
  const random = randomGfns(8192, 1, gfnOfSlot);
  const title = 'Memslots.find(), 8192 slots of one page spread over 2^51 bytes';
  print(
    title,
    race([
      ['random', lookup(vm.memslots, random)],
      ['random, binary search', binarySearch(vm.memslots, random)],
    ]),
  );
}

/** Each loop is a function of its own, so that the engine does not mix their types. */
function loop(subject, body, gfns) {
  const source = `return (count) => {
    let found = 0;
    for (let i = 0; i < count; i++) { const gfn = gfns[i & ${QUERIES - 1}]; if (${body} !== undefined) found++; }
    if (found !== count) throw new Error('every lookup must find its slot');
  };`;
  return new Function('subject', 'read', 'gfns', source)(subject, read, gfns);
}

function lookup(memslots, gfns) {
  return loop(memslots, 'subject.find(gfn)', gfns);
}

/** The same lookups down to the host address, which touches the slot. */
function toHva(vm, gfns) {
  return loop(vm, 'subject.gfnToHva(gfn, read)', gfns);
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
  return loop(find, 'subject(gfn)', gfns);
}

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
