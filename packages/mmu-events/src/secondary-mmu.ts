import type { Gfn } from '@nvmx/guest-memory';
import type { Op } from '@nvmx/sync';
import type { Memslots } from './memslots.ts';

/** Whoever holds translations of guest frames: a vCPU with its EPT tables and its TLB. All calls come from the VM. */
export interface SecondaryMmu {
  /**
   * Drops every translation of frames [start, end), TLB entries included, before it returns (N4, M6). Called under the
   * mmu_lock. Frames that were never translated are no error: `end` may be 2^40.
   */
  zapGfnRange(start: Gfn, end: Gfn): void;
  /** Drops write access to frames [start, end), so that the next write faults and is logged. Without it: a zap. */
  writeProtectGfnRange?(start: Gfn, end: Gfn): void;
  /** `kvm_arch_memslots_updated()`: runs before the new generation can be seen (M5). Never sleeps. */
  memslotsUpdated?(memslots: Memslots): void;
  /**
   * KVM_REQ_OUTSIDE_GUEST_MODE: returns when the vCPU is out of guest mode. Sets no request, which nobody would clear.
   * With `mayBlock` false it sends the kick and does not wait.
   */
  kick?(o: { mayBlock: boolean }): Op<void>;
  /** Which vCPU `kick` kicks; without it the kick is for every cache that asks for one. */
  readonly vcpu?: number | undefined;
}
