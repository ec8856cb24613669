import { type Gpa, gpa, isAddress } from '@nvmx/guest-memory';
import type { HeldPage, PageBackend } from '@nvmx/mmu-events';
import type { Op } from '@nvmx/sync';
import {
  decodeEvmcs,
  decodeEvmcsHeader,
  EVMCS_BYTES,
  EVMCS_REVISION,
  encodeEvmcs,
  evmcsCleanFields,
  evmcsEnlightenments,
  evmcsLayout,
  VMCS12_REVISION,
  type Vmcs,
} from '@nvmx/vmx-fields';
import { NO_PHYSICAL_ADDRESS } from '../mmu/physical-address.ts';

/** What came of L1's wish to enter L2 from an enlightened VMCS. */
export type EnlightenedOutcome =
  | { readonly kind: 'loaded'; readonly msrBitmapIsClean: boolean }
  /** The page cannot be reached: #UD. */
  | { readonly kind: 'unreachable' }
  /** A revision that L0 does not know: VMfailInvalid. */
  | { readonly kind: 'wrong-revision' };

/**
 * The enlightened VMCS of one vCPU: a page of L1 that takes the place of VMREAD and VMWRITE. Loaded at VM entry group by
 * group, written back before L1 runs again. The page goes through the backend like every other page of L1; each access
 * is a short use of its own, and what a decision needs is copied out in one use.
 */
export class EnlightenedVmcs {
  readonly page: HeldPage;
  #gpa = NO_PHYSICAL_ADDRESS;
  /** vmcs12 has exit information that L1's page lacks. */
  #syncPending = false;

  constructor(backend: PageBackend, vcpu: number) {
    this.page = backend.openPage({ role: 'evmcs', vcpu, access: 'write', usedByHardware: false });
  }

  /** The current VMCS is an enlightened one. */
  get isActive(): boolean {
    return this.#gpa !== NO_PHYSICAL_ADDRESS;
  }

  /** Whether the current VMCS is the enlightened one at this address. */
  names(address: number): boolean {
    return this.isActive && this.#gpa === address;
  }

  /**
   * Makes the page at `address` current and copies into vmcs12 what its clean fields do not vouch for. At VMLAUNCH, and when
   * the address is new, they vouch for nothing.
   */
  *load(o: { readonly address: bigint; readonly launch: boolean; readonly vmcs12: Vmcs }): Op<EnlightenedOutcome> {
    const changed = !isAddress(o.address) || Number(o.address) !== this.#gpa;
    if (changed) yield* this.release();
    if (!isAddress(o.address) || o.address % 4096n !== 0n) return { kind: 'unreachable' };
    const address = gpa(Number(o.address));
    if (!(yield* this.#use(address))) return { kind: 'unreachable' };
    const bytes = this.page.view.bytes(0, EVMCS_BYTES).slice();
    const header = decodeEvmcsHeader(bytes);
    if (changed && header.revision !== EVMCS_REVISION && header.revision !== VMCS12_REVISION) {
      this.page.endUse();
      yield* this.release();
      return { kind: 'wrong-revision' };
    }
    const cleanFields = o.launch || changed ? evmcsCleanFields.NONE : header.cleanFields;
    this.page.view.orU32(evmcsLayout.hv_clean_fields.offset, evmcsCleanFields.ALL);
    this.page.endUse({ wrote: true });
    this.#gpa = address;
    if (changed && o.launch) o.vmcs12.clear();
    decodeEvmcs(bytes, o.vmcs12, { cleanFields });
    const enlightened = (header.enlightenmentsControl & evmcsEnlightenments.MSR_BITMAP) !== 0;
    return { kind: 'loaded', msrBitmapIsClean: enlightened && (cleanFields & evmcsCleanFields.MSR_BITMAP) !== 0 };
  }

  /** vmcs12 changed under L1: an exit, or a VM-instruction error. */
  requestSync(): void {
    this.#syncPending = this.isActive;
  }

  /** Before L1 runs: writes the exit into its page (copy_vmcs12_to_enlightened()). False: the page cannot be reached. */
  *sync(vmcs12: Vmcs): Op<boolean> {
    if (!this.#syncPending) return true;
    this.#syncPending = false;
    if (!(yield* this.#use(gpa(this.#gpa)))) return false;
    encodeEvmcs(vmcs12, this.page.view.bytes(0, EVMCS_BYTES));
    this.page.endUse({ wrote: true });
    return true;
  }

  /** VMXOFF, VMCLEAR, another VMCS: the page is no longer current. */
  *release(): Op<void> {
    const wasActive = this.isActive;
    this.#gpa = NO_PHYSICAL_ADDRESS;
    this.#syncPending = false;
    if (this.page.gpa === undefined) return;
    this.page.release({ dirty: wasActive });
    yield* this.page.deactivate();
  }

  /** Begins a use of the page of `address`; false when it cannot be held. */
  *#use(address: Gpa): Op<boolean> {
    for (;;) {
      if (!this.page.tryHold(address) && !(yield* this.page.hold(address)).ok) return false;
      if (this.page.beginUse()) return true;
    }
  }
}
