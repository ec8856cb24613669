import { createManagedMemory, type HostMemory } from '../src/index.ts';
import { createUnmanagedMemory } from '../src/linux.ts';

export interface Sizes {
  readonly guestFrames: number;
  readonly kernelFrames?: number;
  readonly scratchBytes?: number;
}

/** Every kind of memory, for tests of what they have in common. */
export const kinds: readonly [string, (o: Sizes) => HostMemory][] = [
  ['managed, shared', (o) => createManagedMemory({ ...o, shared: true })],
  ['managed, unshared', (o) => createManagedMemory({ ...o, shared: false })],
  ['unmanaged', (o) => createUnmanagedMemory(o)],
];

/** Runs `use` on a new memory, and closes it. */
export function withMemory<T>(memory: HostMemory, use: (memory: HostMemory) => T): T {
  try {
    return use(memory);
  } finally {
    memory.close();
  }
}
