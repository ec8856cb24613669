import { assert, type Gpa, gpaToGfn, type Hva, PAGE_SIZE, pageOffset, pageStart } from '@nvmx/guest-memory';
import type { HvaRange, Memslot, Memslots, VmMemory } from '@nvmx/mmu-events';

/** What a cache is to translate: exactly one of the two, with its offset in the page. */
export type Target = { readonly gpa: Gpa } | { readonly hva: Hva };

/** From gpa to hva by the memslots, or an hva as it was given. Protected by the lock of its cache. */
export class Translation {
  gpa: Gpa | undefined;
  hva: Hva | undefined;
  /** The snapshot that `hva` was taken from. Undefined for an hva that was given, which needs none. */
  memslots: Memslots | undefined;
  /** Of `gpa`. To be used only inside an SRCU section in which `memslots` is the published snapshot. */
  memslot: Memslot | undefined;
  readonly #vm: VmMemory;
  readonly #write: boolean;

  constructor(o: { vm: VmMemory; write: boolean }) {
    this.#vm = o.vm;
    this.#write = o.write;
  }

  /** What it translates, or undefined before the first moveTo(). */
  get target(): Target | undefined {
    if (this.gpa !== undefined) return { gpa: this.gpa };
    return this.hva === undefined ? undefined : { hva: this.hva };
  }

  /**
   * R3. True when it translated anew, from other memslots or for another address. `hva` is undefined after it when no
   * memslot, or only one that forbids the access, has the gpa.
   */
  moveTo(target: Target): boolean {
    return 'gpa' in target ? this.#moveToGpa(target.gpa) : this.#moveToHva(target.hva);
  }

  #moveToGpa(gpa: Gpa): boolean {
    const { memslots } = this.#vm;
    if (this.gpa === gpa && this.memslots === memslots && this.hva !== undefined) return false;
    const memslot = memslots.find(gpaToGfn(gpa));
    this.gpa = gpa;
    this.memslots = memslots;
    this.memslot = memslot;
    this.hva = this.#permits(memslot) ? addOffset(memslot.hvaOf(gpaToGfn(gpa)), gpa) : undefined;
    return true;
  }

  #moveToHva(hva: Hva): boolean {
    if (this.gpa === undefined && this.hva === hva) return false;
    this.gpa = undefined;
    this.memslots = undefined;
    this.memslot = undefined;
    this.hva = hva;
    return true;
  }

  #permits(memslot: Memslot | undefined): memslot is Memslot {
    return memslot !== undefined && !memslot.invalid && !(this.#write && memslot.flags.readOnly);
  }
}

/** The length test of R1. Asserts that `bytes` is a count. */
export function crossesPage(target: Target, bytes: number): boolean {
  assert(bytes > 0 && Number.isInteger(bytes), `pfncache: ${bytes} is not a count of bytes`);
  return pageOffset('gpa' in target ? target.gpa : target.hva) + bytes > PAGE_SIZE;
}

/** The page number of an address, -1 for none. */
export function pageNumber(hva: Hva | undefined): number {
  return hva === undefined ? -1 : pageStart(hva) / PAGE_SIZE;
}

export function isWithin(range: HvaRange, hva: Hva | undefined): boolean {
  return hva !== undefined && range.start <= hva && hva < range.end;
}

function addOffset(page: Hva, gpa: Gpa): Hva {
  return (page + pageOffset(gpa)) as Hva;
}
