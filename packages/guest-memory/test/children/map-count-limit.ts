import { OperatingError, type Pfn } from '../../src/index.ts';
import { createUnmanagedMemory } from '../../src/linux.ts';

// Maps more pages than a process may have mappings. Prints only after all of them are undone: at the limit V8 itself may
// find no memory to go on with.
const frames = Number(process.argv[2]);
const memory = createUnmanagedMemory({ guestFrames: frames, kernelFrames: 1, windows: frames });
const mappings = [];
let error: unknown;
try {
  // Descending pages over ascending windows: neighbors never merge into one mapping of the kernel's.
  for (let pfn = frames; pfn >= 1; pfn--) mappings.push(memory.map(pfn as Pfn));
} catch (caught) {
  error = caught;
}
const reached = mappings.length;
let refusedAgain = false;
try {
  for (let i = 0; i < 200; i++) mappings.push(memory.map(1 as Pfn));
} catch {
  refusedAgain = true;
}
// In the middle, where the windows on both sides stay mapped.
for (const mapping of mappings.splice(reached >> 1, 100)) memory.unmap(mapping);
const afterRoom = memory.map(7 as Pfn);
afterRoom.view.setU32(0, 77);
const works = memory.u32[(7 * 4096) / 4] === 77;
memory.unmap(afterRoom);
for (const mapping of mappings) memory.unmap(mapping);
const left = memory.liveMappings;
memory.close();

const { code, message, details } = error instanceof OperatingError ? error : new OperatingError('none', String(error));
console.log(JSON.stringify({ code, message, details, reached, refusedAgain, works, left }));
