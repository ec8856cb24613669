import { gfn, gpa, gpaToGfn } from '@nvmx/guest-memory';
import type { Op } from '@nvmx/sync';
import { eptViolation, exitReason } from '@nvmx/vmx-fields';
import { EptOutcome, EptWalk, walkEpt } from '@nvmx/x86';
import type { L1Memory } from './l1-memory.ts';
import type { FaultOutcome, Mmu } from './mmu.ts';
import { PHYSICAL_ADDRESS_BITS } from './physical-address.ts';

const ACCESS = eptViolation.READ | eptViolation.WRITE | eptViolation.FETCH;
/** Qualification bits that the processor knows and L0 passes on: what was accessed, and how. */
const FROM_PROCESSOR =
  ACCESS | eptViolation.LINEAR_VALID | eptViolation.LINEAR_TRANSLATED | eptViolation.NMI_UNBLOCKING;
const PERMISSION_SHIFT = 3;

/** What an EPT violation of L2 leads to: L0 filled the shadow, L1 has to see an exit, or nothing backs the address. */
export type EptFault12 =
  | { readonly kind: FaultOutcome; readonly l1Address: number }
  | { readonly kind: 'reflect'; readonly reason: number; readonly qualification: number };

/**
 * EPT violations of L2: walks the EPT that L1 wrote, in L1's memory, and merges what it finds into the shadow that L2
 * uses. What L1's EPT does not allow is L1's to handle.
 */
export class Ept12 {
  readonly #memory: L1Memory;
  readonly #mmu: Mmu;
  readonly #walk = new EptWalk();

  constructor(o: { readonly memory: L1Memory; readonly mmu: Mmu }) {
    this.#memory = o.memory;
    this.#mmu = o.mmu;
  }

  /** `qualification` is the processor's, for the violation in the shadow of `eptp`. */
  *fault(o: { readonly eptp: number; readonly address: number; readonly qualification: number }): Op<EptFault12> {
    const { qualification, address } = o;
    const result = this.#walkEpt12(o.eptp, address, qualification & ACCESS);
    if (result === EptOutcome.MISCONFIGURATION) {
      return { kind: 'reflect', reason: exitReason.EPT_MISCONFIG, qualification: 0 };
    }
    if (result !== EptOutcome.OK) {
      const permissions = result === EptOutcome.VIOLATION ? this.#walk.permissions & 7 : 0;
      return {
        kind: 'reflect',
        reason: exitReason.EPT_VIOLATION,
        qualification: (qualification & FROM_PROCESSOR) | (permissions << PERMISSION_SHIFT),
      };
    }
    const l1Address = this.#walk.physical;
    const kind = yield* this.#mmu.map({
      tables: this.#mmu.shadowOf(o.eptp),
      at: gfn(Math.floor(address / 4096)),
      source: gpaToGfn(gpa(l1Address)),
      write: (qualification & eptViolation.WRITE) !== 0,
      access: this.#walk.permissions & 7,
    });
    return { kind, l1Address };
  }

  #walkEpt12(eptp: number, physical: number, access: number): EptOutcome {
    const request = {
      pointerLow: eptp | 0,
      pointerHigh: Math.floor(eptp / 2 ** 32),
      physical,
      access,
      physicalAddressBits: PHYSICAL_ADDRESS_BITS,
      executeOnly: true,
    };
    return walkEpt(this.#memory, request, this.#walk);
  }
}
