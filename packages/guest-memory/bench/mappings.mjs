// What it costs to reach a guest page: through a mapping that is kept, through one made for each access, and by a copy.
// Ratios of one run; build first. Many pages and offsets, so that no loop folds away.
import { createManagedMemory, defineLayout, hpa, pfnToHpa } from '@nvmx/guest-memory';
import { createUnmanagedMemory } from '@nvmx/guest-memory/linux';
import { ratios } from './ratios.mjs';

const PAGES = 64;
const KERNEL_ROUND_TRIP = 20_000;
const word = defineLayout({ value: { offset: 2048, type: 'u32' } });
const eight = new Uint8Array(8);
const whole = new Uint8Array(4096);

const managed = prepare(createManagedMemory({ guestFrames: PAGES }));
const unmanaged = prepare(createUnmanagedMemory({ guestFrames: PAGES }));

ratios('guest-memory', {
  'cached read, unmanaged': { run: (i) => cachedRead(unmanaged, i) },
  'cached read, managed': { run: (i) => cachedRead(managed, i) },
  'cached u64 as two u32, managed': { run: (i) => cachedPair(managed, i) },
  'cached layout field, managed': { run: (i) => word.get(managed.kept[i % PAGES].view, 'value') },
  'cached atomic or, managed': { run: (i) => managed.kept[i % PAGES].view.orU32((i * 4) % 4096, i) },
  'map + read + unmap, managed': { run: (i) => mappedRead(managed, i) },
  'map + read + unmap, unmanaged': { run: (i) => mappedRead(unmanaged, i), iterations: KERNEL_ROUND_TRIP },
  'copy of 8 bytes, managed': { run: (i) => copy(managed, i, eight) },
  'copy of 8 bytes, unmanaged': { run: (i) => copy(unmanaged, i, eight), iterations: KERNEL_ROUND_TRIP },
  'copy of a page, managed': { run: (i) => copy(managed, i, whole), iterations: KERNEL_ROUND_TRIP },
  'copy of a page, unmanaged': { run: (i) => copy(unmanaged, i, whole), iterations: KERNEL_ROUND_TRIP },
  'allocate + free a frame': { run: () => turnOver(managed), iterations: KERNEL_ROUND_TRIP },
});

managed.memory.close();
unmanaged.memory.close();

/** All pages but one are allocated and stay mapped. */
function prepare(memory) {
  const pfns = Array.from({ length: PAGES - 1 }, () => memory.frames.allocate('guest'));
  pfns.push(pfns[0]);
  return { memory, pfns, kept: pfns.map((pfn) => memory.map(pfn)) };
}

function cachedRead({ kept }, i) {
  return kept[i % PAGES].view.u32((i * 4) % 4096);
}

function cachedPair({ kept }, i) {
  const { view } = kept[i % PAGES];
  const offset = (i * 8) % 4096;
  return view.u64Low(offset) ^ view.u64High(offset);
}

function mappedRead({ memory, pfns }, i) {
  const mapping = memory.map(pfns[i % PAGES]);
  const value = mapping.view.u32((i * 4) % 4096);
  memory.unmap(mapping);
  return value;
}

function copy({ memory, pfns }, i, target) {
  memory.read(hpa(pfnToHpa(pfns[i % PAGES])), target);
  return target[0];
}

function turnOver({ memory }) {
  const pfn = memory.frames.allocate('guest');
  memory.frames.put(pfn);
  return pfn;
}
