import { type HostMemory, type PageView, type Pfn, pfnToHpa } from '@nvmx/guest-memory';
import {
  addressHigh,
  addressLow,
  field,
  type MsrAccess,
  type MsrBitmapMergeRow,
  msr,
  msrBitmapBit,
  msrBitmapMergeRows,
  type Vmcs,
} from '@nvmx/vmx-fields';
import { hasSecondary } from '../controls.ts';

const PAGE_WORDS = 1024;
const ALL_ONES = 0xffff_ffff;

/** MSRs that L0 lets L1 use without an exit: the VMCS or the processor switches them with the guest. */
const l1Passthrough = [msr.IA32_FS_BASE, msr.IA32_GS_BASE, msr.IA32_KERNEL_GS_BASE] as const;

/** The bits of one word of the bitmap that one rule decides. */
interface MergeStep {
  readonly rule: MsrBitmapMergeRow['rule'];
  readonly requires: number;
  readonly word: number;
  readonly mask: number;
}

const mergeSteps: readonly MergeStep[] = msrBitmapMergeRows.filter((row) => row.counter === undefined).flatMap(stepsOf);

/** One row of the table as the words that it touches, bits of one word together. */
function stepsOf(row: MsrBitmapMergeRow): MergeStep[] {
  const masks = new Map<number, number>();
  for (let index = row.msrFirst; index <= row.msrLast; index++) {
    for (const access of accessesOf(row)) {
      const bit = msrBitmapBit(index, access);
      masks.set(bit >>> 5, ((masks.get(bit >>> 5) ?? 0) | (1 << (bit & 31))) >>> 0);
    }
  }
  return [...masks].map(([word, mask]) => ({ rule: row.rule, requires: row.requires, word, mask }));
}

function accessesOf(row: MsrBitmapMergeRow): MsrAccess[] {
  return [...(row.read ? (['read'] as const) : []), ...(row.write ? (['write'] as const) : [])];
}

/** An MSR bitmap that the processor uses: a kernel-zone frame of L0. Every access exits until something is opened. */
export class MsrBitmap {
  readonly #memory: HostMemory;
  readonly #pfn: Pfn;
  readonly #firstWord: number;

  constructor(memory: HostMemory) {
    this.#memory = memory;
    this.#pfn = memory.frames.allocate('kernel');
    this.#firstWord = pfnToHpa(this.#pfn) / 4;
    memory.u32.fill(ALL_ONES, this.#firstWord, this.#firstWord + PAGE_WORDS);
  }

  /** vmcs01: what L1 uses without an exit. */
  openPassthrough(): void {
    for (const index of l1Passthrough) {
      for (const access of ['read', 'write'] as const) {
        const bit = msrBitmapBit(index, access);
        this.#memory.u32[this.#firstWord + (bit >>> 5)] &= ~(1 << (bit & 31));
      }
    }
  }

  /**
   * vmcs02: what both L0 and L1 pass (nested_vmx_prepare_msr_bitmap()). `l1` is L1's bitmap page, in use by the caller.
   * The rules run in the order of their table. Bits that no rule names stay 1 from construction on.
   */
  merge(o: { readonly l1: PageView; readonly l0: MsrBitmap; readonly vmcs12: Vmcs }): void {
    const { u32 } = this.#memory;
    for (const { rule, requires, word, mask } of mergeSteps) {
      if (requires !== 0 && !hasSecondary(o.vmcs12, requires)) continue;
      const at = this.#firstWord + word;
      const wanted = mergedWord(rule, { own: u32[at], l0: u32[o.l0.#firstWord + word], l1: o.l1.u32(4 * word) });
      u32[at] = (u32[at] & ~mask) | (wanted & mask);
    }
  }

  /** Writes the frame's address into MSR_BITMAP. */
  programInto(vmcs: Vmcs): void {
    const address = pfnToHpa(this.#pfn);
    vmcs.write64(field.MSR_BITMAP, addressLow(address), addressHigh(address));
  }

  destroy(): void {
    this.#memory.frames.put(this.#pfn);
  }
}

function mergedWord(rule: MergeStep['rule'], words: { own: number; l0: number; l1: number }): number {
  switch (rule) {
    case 'intercept':
      return ALL_ONES;
    case 'l1':
      return words.l1;
    case 'l1-opens':
      return words.own & words.l1;
    case 'vmcs01-or-l1':
      return words.l0 | words.l1;
  }
}
