import { accessRights, cr0, cr4, efer, field, type Vmcs } from '@nvmx/vmx-fields';
import { type PagingRequest, PagingWalk, pagingAccess, WalkOutcome, walkPaging } from '@nvmx/x86';
import type { L1Memory } from './l1-memory.ts';
import { PHYSICAL_ADDRESS_BITS } from './physical-address.ts';

const PAGE_BYTES = 4096;
const ROOT_HIGH = 0xf_ffff;

/** An access of L0 on behalf of an instruction of L1: done, or the page fault that L1 has to see. */
export type LinearOutcome =
  | { readonly ok: true }
  | { readonly ok: false; readonly errorCode: number; readonly address: bigint };

const DONE: LinearOutcome = { ok: true };

/** L1's linear memory as L1's own paging maps it, for operands of instructions that L0 carries out. */
export class L1Linear {
  readonly #memory: L1Memory;
  readonly #walk = new PagingWalk();

  constructor(memory: L1Memory) {
    this.#memory = memory;
  }

  read(vmcs: Vmcs, address: bigint, target: Uint8Array): LinearOutcome {
    return this.#eachPage(vmcs, { address, bytes: target.length, write: false }, (physical, start, end) =>
      this.#memory.copyFrom(physical, target.subarray(start, end)),
    );
  }

  write(vmcs: Vmcs, address: bigint, source: Uint8Array): LinearOutcome {
    return this.#eachPage(vmcs, { address, bytes: source.length, write: true }, (physical, start, end) =>
      this.#memory.copyTo(physical, source.subarray(start, end)),
    );
  }

  #eachPage(
    vmcs: Vmcs,
    o: { readonly address: bigint; readonly bytes: number; readonly write: boolean },
    copy: (physical: number, start: number, end: number) => boolean,
  ): LinearOutcome {
    for (let start = 0; start < o.bytes; ) {
      const address = BigInt.asUintN(64, o.address + BigInt(start));
      const end = Math.min(o.bytes, start + PAGE_BYTES - (Number(address & 0xfffn) % PAGE_BYTES));
      const request = pagingRequest(vmcs, address, o.write);
      if (walkPaging(this.#memory, request, this.#walk) !== WalkOutcome.OK) {
        const unreadable = this.#walk.outcome === WalkOutcome.UNREADABLE;
        return { ok: false, errorCode: unreadable ? 0 : this.#walk.errorCode, address };
      }
      if (!copy(this.#walk.physical, start, end)) return { ok: false, errorCode: 0, address };
      start = end;
    }
    return DONE;
  }
}

/** The walk that the guest of `vmcs` would do for its own access, at its privilege. */
function pagingRequest(vmcs: Vmcs, address: bigint, write: boolean): PagingRequest {
  const c0 = vmcs.read32(field.GUEST_CR0);
  const c4 = vmcs.read32(field.GUEST_CR4);
  const user = (vmcs.read32(field.GUEST_SS_AR_BYTES) & accessRights.DPL) === accessRights.DPL;
  return {
    root: (vmcs.words[field.GUEST_CR3 + 1] & ROOT_HIGH) * 2 ** 32 + ((vmcs.read32(field.GUEST_CR3) & ~0xfff) >>> 0),
    levels: (c4 & cr4.LA57) === 0 ? 4 : 5,
    linearLow: Number(address & 0xffff_ffffn) | 0,
    linearHigh: Number(address >> 32n) | 0,
    access:
      (write ? pagingAccess.write : 0) |
      (user ? pagingAccess.user : 0) |
      ((c0 & cr0.WP) === 0 ? 0 : pagingAccess.writeProtect) |
      ((vmcs.read32(field.GUEST_IA32_EFER) & efer.NXE) === 0 ? 0 : pagingAccess.noExecute) |
      pagingAccess.gigabytePages,
    physicalAddressBits: PHYSICAL_ADDRESS_BITS,
  };
}
