import { createManagedMemory, type HostMemory, PAGE_SIZE } from '@nvmx/guest-memory';
import { createUnmanagedMemory } from '@nvmx/guest-memory/linux';
import { fromInput } from './errors.ts';

/** Which memory a guest gets: always mapped, a memfd, or a file of the user. */
export type MemoryChoice =
  | { readonly kind: 'managed' }
  | { readonly kind: 'unmanaged'; readonly file?: string | undefined };

/** L0's own frames: the pages of its EPT tables, for L1's memory once and for what L2 sees of it again. */
const KERNEL_FRAMES_BASE = 1024;
const TABLES_PER_LARGE_PAGE = 3;

/** `managed`, `unmanaged`, or the path of a file. */
export function memoryChoice(text: string): MemoryChoice {
  if (text === 'managed' || text === 'unmanaged') return { kind: text };
  return { kind: 'unmanaged', file: text };
}

/** Throws UsageError when the host cannot give such memory: the file is missing or too small, there is no Linux. */
export function createMemory(choice: MemoryChoice, o: { readonly guestBytes: number }): HostMemory {
  const guestFrames = Math.ceil(o.guestBytes / PAGE_SIZE);
  const kernelFrames = KERNEL_FRAMES_BASE + TABLES_PER_LARGE_PAGE * Math.ceil(guestFrames / 512);
  return fromInput(() => {
    if (choice.kind === 'managed') return createManagedMemory({ guestFrames, kernelFrames });
    const file = choice.file === undefined ? {} : { file: choice.file };
    return createUnmanagedMemory({ guestFrames, kernelFrames, ...file });
  });
}

/** For people. */
export function describeMemory(choice: MemoryChoice): string {
  if (choice.kind === 'managed') return 'managed memory';
  return `unmanaged memory (${choice.file ?? 'memfd'})`;
}
