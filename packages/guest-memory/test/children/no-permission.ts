import { OperatingError } from '../../src/index.ts';
import { createUnmanagedMemory } from '../../src/linux.ts';

// Root may open everything, so a root process becomes nobody first; by then koffi is loaded.
createUnmanagedMemory({ guestFrames: 1 }).close();
if (process.getuid?.() === 0) {
  process.setgid?.(65_534);
  process.setuid?.(65_534);
}
try {
  createUnmanagedMemory({ guestFrames: 1, file: process.argv[2]! });
  console.log(JSON.stringify({ code: 'none' }));
} catch (error) {
  if (!(error instanceof OperatingError)) throw error;
  console.log(JSON.stringify({ code: error.code, message: error.message }));
}
