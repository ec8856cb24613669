import { type Gpa, gpaToGfn, hpa, hpaToPfn, type Pfn } from '@nvmx/guest-memory';
import type { AccessObserver, HeldPage, PageRole, VmMemory } from '@nvmx/mmu-events';
import { field } from '@nvmx/vmx-fields';

/** Who reached a frame: L0 through a held page, or the processor through an address in vmcs02. */
export type AccessActor = 'L0' | 'processor';

/** An access that reached a frame which did not back the guest page at that moment. */
export interface StaleAccess {
  readonly actor: AccessActor;
  readonly role: PageRole;
  readonly gpa: Gpa;
  /** The frame that was reached. */
  readonly pfn: Pfn;
  /** The frame that backs the guest page, `undefined` where none does. */
  readonly current: Pfn | undefined;
}

const roleOfField: ReadonlyMap<number, PageRole> = new Map([
  [field.APIC_ACCESS_ADDR, 'apic-access'],
  [field.VIRTUAL_APIC_PAGE_ADDR, 'virtual-apic'],
  [field.POSTED_INTR_DESC_ADDR, 'pi-desc'],
]);

/**
 * Compares each access to one of L1's pages with the frame that backs the page at that moment, as memslots and host
 * page table say. Watches L0 through the backend and the processor through its use of addresses in vmcs02. It asks
 * nobody whether a page is valid, so it judges every backend alike.
 */
export class StaleAccessAudit implements AccessObserver {
  readonly accesses = { L0: 0, processor: 0 };
  /** The same by kind of page: whoever reports no stale access should know that there were accesses. */
  readonly accessesOf: Readonly<Record<PageRole, Record<AccessActor, number>>> = {
    'msr-bitmap': { L0: 0, processor: 0 },
    'apic-access': { L0: 0, processor: 0 },
    'virtual-apic': { L0: 0, processor: 0 },
    'pi-desc': { L0: 0, processor: 0 },
    evmcs: { L0: 0, processor: 0 },
  };
  readonly stale: StaleAccess[] = [];
  readonly #vm: VmMemory;
  readonly #staleMax: number;
  staleCount = 0;

  /** Counts every stale access and keeps the first `staleMax` of them. */
  constructor(vm: VmMemory, o: { readonly staleMax?: number } = {}) {
    this.#vm = vm;
    this.#staleMax = o.staleMax ?? 64;
  }

  l0Access(page: HeldPage, gpa: Gpa, pfn: Pfn): void {
    this.#judge('L0', page.request.role, gpa, pfn);
  }

  /**
   * The processor used `address`, which vmcs02 holds for the page that L1 named by `pageGpa`.
   *
   * The APIC-access page is compared, not read. `reached` is then the frame that L2 reached without a match: it counts
   * when it is the page itself, which only a stale address in vmcs02 can miss.
   */
  processorAccess(o: {
    readonly role: PageRole;
    readonly pageGpa: Gpa;
    readonly address: number;
    readonly reached?: number;
  }): void {
    const missed = o.reached !== undefined && pfnOf(o.reached) === this.#vm.currentPfn(gpaToGfn(o.pageGpa));
    if (o.reached === undefined || missed) this.#judge('processor', o.role, o.pageGpa, pfnOf(o.address));
  }

  /** The role of the page that a VMCS field names, `undefined` for structures that L0 owns. */
  static roleOf(fieldWord: number): PageRole | undefined {
    return roleOfField.get(fieldWord);
  }

  #judge(actor: AccessActor, role: PageRole, gpa: Gpa, pfn: Pfn): void {
    this.accesses[actor]++;
    this.accessesOf[role][actor]++;
    const current = this.#vm.currentPfn(gpaToGfn(gpa));
    if (current === pfn) return;
    this.staleCount++;
    if (this.stale.length < this.#staleMax) this.stale.push({ actor, role, gpa, pfn, current });
  }
}

const pfnOf = (address: number): Pfn => hpaToPfn(hpa(address));
