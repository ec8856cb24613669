import type { Hpa, Pfn } from './addresses.ts';
import type { FrameTable } from './frame-table.ts';
import type { PageView } from './page-view.ts';

/** One page that L0 reached by `HostMemory.map()`. `live` until it is unmapped or the memory is closed. */
export interface Mapping {
  readonly pfn: Pfn;
  readonly view: PageView;
  readonly live: boolean;
}

/**
 * The host's physical memory: all frames in one page-aligned linear memory, kernel frames first, then guest frames.
 *
 * The typed arrays are the physical view, with index = hpa / element size. They are for the processor, the host's mm and
 * user space. L0 reaches a guest frame only through `map()`, `read()` and `write()`, as KVM does: in unmanaged memory
 * there is no other way.
 */
export interface HostMemory {
  /** Of the guest zone. Kernel frames are always managed. */
  readonly kind: 'managed' | 'unmanaged';
  readonly buffer: ArrayBuffer | SharedArrayBuffer;
  /** The same bytes for WebAssembly code. Never grown: the typed arrays stay valid. */
  readonly linear: WebAssembly.Memory;
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;
  readonly i32: Int32Array;
  readonly u64: BigUint64Array;
  readonly frames: FrameTable;
  /** Kernel and guest frames together. Pfn 0 is never handed out. */
  readonly frameCount: number;
  /** The first guest frame: frames below it belong to L0. */
  readonly kernelFrames: number;
  /** A byte range of the same memory that belongs to no frame: the processor keeps its registers there. */
  readonly scratch: { readonly base: number; readonly bytes: number };
  /** Mappings that are not unmapped yet. */
  readonly liveMappings: number;

  /**
   * Makes one frame reachable. Managed: a view in place, as `kmap()`. Unmanaged guest frame: a real mmap() of the file's
   * page over a free window, as `memremap()`. The same frame may be mapped many times. Says nothing on whether the frame
   * is allocated. Throws OperatingError ENOMEM without a free window, or when the kernel refuses the mapping.
   */
  map(pfn: Pfn): Mapping;

  /** Undoes one `map()`: asserts that the mapping is live, so that each is unmapped exactly once. */
  unmap(mapping: Mapping): void;

  /** Copies out of memory into all of `target`. The range may cross pages, and lies in one zone. */
  read(hpa: Hpa, target: Uint8Array): void;

  /** Copies all of `source` into memory. The range may cross pages, and lies in one zone. */
  write(hpa: Hpa, source: Uint8Array): void;

  /**
   * Frees every frame and ends every mapping, as if the memory were new; birth ids go on. For explorers, which run one
   * program thousands of times: making a memory costs far more.
   */
  reset(): void;

  /** Unmaps everything and gives the memory back. Every later use asserts; a second `close()` does nothing. */
  close(): void;
}
