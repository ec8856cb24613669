import { type Hva, PAGE_SIZE } from '@nvmx/guest-memory';
import type { HostAddressSpace, VmMemory } from '@nvmx/mmu-events';
import { drive } from '@nvmx/sync';
import { PAGES_BYTES, PAGES_COUNT, PAGES_GPA } from './compare-guest.ts';

/** Where a region waits while the other one backs the guest's pages. Nothing of the guest is there. */
const parkingGpas = [0x2000_0000, 0x3000_0000] as const;
const SLOT_IDS = [8, 9] as const;

/** A region of the VMM's memory, and the memslot that shows it to the guest. */
interface Region {
  readonly slot: number;
  readonly hva: Hva;
  gpa: number;
}

/**
 * Two regions of the VMM's address space that take turns in backing the guest's 16 pages. When they change places the host
 * addresses stay mapped, so no notifier event happens: only the generation of the memslots tells.
 */
export class PageSlots {
  readonly #host: HostAddressSpace;
  readonly #vm: VmMemory;
  #front: Region;
  #back: Region;

  constructor(o: { readonly host: HostAddressSpace; readonly vm: VmMemory }) {
    this.#host = o.host;
    this.#vm = o.vm;
    const region = (index: 0 | 1, gpa: number): Region => ({
      slot: SLOT_IDS[index],
      hva: o.host.mmap({ pages: PAGES_COUNT }),
      gpa,
    });
    this.#front = region(0, PAGES_GPA);
    this.#back = region(1, parkingGpas[0]);
    this.#show(this.#front);
    this.#show(this.#back);
  }

  /** The host address that backs one of the 16 pages now. */
  hvaOf(page: number): Hva {
    return (this.#front.hva + page * PAGE_SIZE) as Hva;
  }

  /** KVM_MR_MOVE: the front slot goes aside, the back one takes its place. The content goes along. */
  move(): void {
    this.#copyContent();
    const aside = this.#back.gpa === parkingGpas[0] ? parkingGpas[1] : parkingGpas[0];
    this.#front.gpa = aside;
    this.#show(this.#front);
    this.#back.gpa = PAGES_GPA;
    this.#show(this.#back);
    this.#swap();
  }

  /** KVM_MR_DELETE and KVM_MR_CREATE: both slots go, and come back with the regions exchanged. */
  recreate(): void {
    this.#copyContent();
    this.#hide(this.#front);
    this.#hide(this.#back);
    this.#front.gpa = this.#back.gpa;
    this.#back.gpa = PAGES_GPA;
    this.#show(this.#back);
    this.#show(this.#front);
    this.#swap();
  }

  #copyContent(): void {
    const content = new Uint8Array(PAGES_BYTES);
    drive(this.#host.read(this.#front.hva, content));
    drive(this.#host.write(this.#back.hva, content));
  }

  #swap(): void {
    [this.#front, this.#back] = [this.#back, this.#front];
  }

  #show({ slot, gpa, hva }: Region): void {
    drive(this.#vm.setMemoryRegion({ slot, gpa, bytes: PAGES_BYTES, hva }));
  }

  #hide({ slot, gpa, hva }: Region): void {
    drive(this.#vm.setMemoryRegion({ slot, gpa, bytes: 0, hva }));
  }
}
