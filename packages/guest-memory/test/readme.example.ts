import { createManagedMemory, defineLayout, OperatingError, pfnToHpa } from '@nvmx/guest-memory';
import { createUnmanagedMemory } from '@nvmx/guest-memory/linux';

const piDesc = defineLayout({ pir: { offset: 0, type: { bytes: 32 } }, control: { offset: 32, type: 'u64' } });

for (const memory of [
  createManagedMemory({ guestFrames: 16 }), // runs in a browser, too
  createUnmanagedMemory({ guestFrames: 16, windows: 1 }), // a memfd, mapped page by page
]) {
  const pfn = memory.frames.allocate('guest');
  const page = memory.map(pfn); // unmanaged: a real mmap() over a window
  piDesc.set(page.view, 'control', 1n);
  page.view.orU32(0, 1 << 5);
  console.log(memory.kind, memory.u8[pfnToHpa(pfn) + 32]); // the processor sees the same bytes

  try {
    memory.unmap(memory.map(pfn)); // a second mapping of the frame
  } catch (error) {
    if (error instanceof OperatingError) console.log(error.code); // no window is free
  }
  memory.unmap(page);
  console.log(page.live, page.view.u32(0)); // unmanaged: zeros, since no page is there
  memory.close();
}
