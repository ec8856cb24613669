import type { HostMemory } from './host-memory.ts';
import { UnmanagedMemory, type UnmanagedMemoryOptions } from './linux-memory.ts';
import { loadLinuxSystem, type Platform, thisPlatform } from './linux-system.ts';

export type { UnmanagedMemoryOptions } from './linux-memory.ts';
export type { Platform } from './linux-system.ts';

/**
 * Memory that the host kernel has no `struct page` for, played by a file: L0 reaches its guest frames only by real mmap()
 * over windows, or by pread() and pwrite(); the processor sees the same bytes. Needs Linux and Node.js.
 *
 * Throws OperatingError: ENOSYS where there is no Linux or koffi does not load; ENOENT, EACCES for the named file; EINVAL
 * when it is not a regular file or too small; ENOMEM when memory cannot be had.
 */
export function createUnmanagedMemory(o: UnmanagedMemoryOptions, platform: Platform = thisPlatform): HostMemory {
  return new UnmanagedMemory(o, loadLinuxSystem(platform));
}
