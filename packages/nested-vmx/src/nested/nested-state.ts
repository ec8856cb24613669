import { Vmcs } from '@nvmx/vmx-fields';
import { NO_PHYSICAL_ADDRESS } from '../mmu/physical-address.ts';
import type { EnlightenedVmcs } from '../pages/enlightened-vmcs.ts';
import type { NestedPages } from '../pages/nested-pages.ts';
import type { MsrBitmap } from './msr-bitmap.ts';

/** No value of a control word. */
export const NOT_MERGED = -1;

/** Groups of vmcs12 fields whose VM-entry checks are due again after a write. */
export const dirtyGroup = { controls: 1, host: 2, guest: 4, all: 7 } as const;

/** What L0 knows of L1's VMX operation on one vCPU (KVM: struct nested_vmx). */
export class NestedState {
  /** L1 executed VMXON. */
  vmxOn = false;
  vmxonPointer = NO_PHYSICAL_ADDRESS;
  /** L1's current VMCS, NO_PHYSICAL_ADDRESS without one. */
  currentVmptr = NO_PHYSICAL_ADDRESS;
  /** L0's copy of the current VMCS: read from L1's memory at VMPTRLD, written back when it stops being current. */
  readonly vmcs12 = new Vmcs();
  launched = false;
  /** The vCPU runs L2. */
  guestMode = false;
  /** VMLAUNCH or VMRESUME is done, L2's first VM entry is not: nothing may turn it into an exit to L1. */
  runPending = false;
  /** A notification vector arrived: posted interrupts wait in L1's descriptor. */
  postedInterruptPending = false;
  /** Fields written since their checks last passed. */
  dirty: number = dirtyGroup.all;
  /** VPID that L1 gave L2 at the last entry. */
  lastVpid = 0;
  readonly pages: NestedPages;
  readonly msrBitmap: MsrBitmap;
  readonly evmcs: EnlightenedVmcs;
  /** L1's bitmap is what it was at the last merge: an enlightened VMCS said so. */
  msrBitmapIsClean = false;
  /** Secondary controls under which the bitmap of vmcs02 was merged; NOT_MERGED when it holds no merge of this VMCS. */
  msrBitmapMergedUnder = NOT_MERGED;

  constructor(o: { readonly pages: NestedPages; readonly msrBitmap: MsrBitmap; readonly evmcs: EnlightenedVmcs }) {
    this.pages = o.pages;
    this.msrBitmap = o.msrBitmap;
    this.evmcs = o.evmcs;
  }

  /** There is a VMCS, ordinary or enlightened, that can hold a VM-instruction error. */
  get hasCurrentVmcs(): boolean {
    return this.currentVmptr !== NO_PHYSICAL_ADDRESS || this.evmcs.isActive;
  }
}
