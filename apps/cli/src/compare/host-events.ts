import { type Hva, OperatingError, PAGE_SIZE } from '@nvmx/guest-memory';
import type { Machine } from '@nvmx/machine';
import { drive } from '@nvmx/sync';
import { guestPages, NOTIFICATION_VECTOR } from './compare-guest.ts';
import { Neighbor } from './neighbor.ts';
import { PageSlots } from './page-slots.ts';
import { SeededRandom } from './random.ts';

/** What the host does to the pages of L1, in the order of a cycle. */
export const eventKinds = ['discard', 'migrate', 'memslotMove', 'memslotRecreate'] as const;

export type EventKind = (typeof eventKinds)[number];

/** How often each happened. */
export type EventCounts = { [kind in EventKind | 'migrateRefused' | 'notification']: number };

/** Stops in L2 from one event to the next: 1 to this many. */
const GAP_MAX = 4;
/** Of so many stops in L2, one brings a notification of a posted interrupt. */
const NOTIFICATION_EVERY = 3;

/**
 * The host's side of the storm. Each step may move, drop or remap one of the pages that L1's VMCS names, or notify the
 * processor, and leaves the content as the guest expects it: a VMM that populates a page again would do the same.
 *
 * Kinds and pages take turns, so that each kind meets each page; the gaps between come from a seed.
 */
export class HostEvents {
  readonly counts: EventCounts = {
    discard: 0,
    migrate: 0,
    migrateRefused: 0,
    memslotMove: 0,
    memslotRecreate: 0,
    notification: 0,
  };
  readonly neighbor: Neighbor;
  readonly #machine: Machine;
  readonly #slots: PageSlots;
  readonly #random: SeededRandom;
  readonly #page = new Uint8Array(PAGE_SIZE);
  #stopsLeft = 1;
  #turn = 0;

  constructor(o: { readonly machine: Machine; readonly seed: number }) {
    this.#machine = o.machine;
    this.#slots = new PageSlots(o.machine);
    this.neighbor = new Neighbor(o.machine.host);
    this.#random = new SeededRandom(o.seed);
  }

  /** Events so far, refused ones and notifications not counted. */
  get total(): number {
    return eventKinds.reduce((total, kind) => total + this.counts[kind], 0);
  }

  /** The vCPU stands between two VM entries of L2. */
  step(): void {
    if (--this.#stopsLeft === 0) {
      this.#stopsLeft = 1 + this.#random.below(GAP_MAX);
      this.#happen();
    }
    if (this.#random.below(NOTIFICATION_EVERY) === 0) this.#notify();
  }

  #happen(): void {
    const turn = this.#turn++;
    const kind = eventKinds[turn % eventKinds.length]!;
    const { index } = guestPages[Math.floor(turn / eventKinds.length) % guestPages.length]!;
    if (kind === 'migrate') {
      this.#migrate(this.#slots.hvaOf(index));
      return;
    }
    if (kind === 'discard') this.#discard(this.#slots.hvaOf(index));
    else if (kind === 'memslotMove') this.#slots.move();
    else this.#slots.recreate();
    this.counts[kind]++;
  }

  /** MADV_DONTNEED, then the content again, in whatever frame is free: not the old one, which the neighbor has. */
  #discard(hva: Hva): void {
    drive(this.#machine.host.read(hva, this.#page));
    drive(this.#machine.host.discard({ start: hva, end: (hva + PAGE_SIZE) as Hva }));
    this.neighbor.takeFreedFrame();
    drive(this.#machine.host.write(hva, this.#page));
  }

  /** Compaction. A page that somebody pinned stays: that is what the pin is for. */
  #migrate(hva: Hva): void {
    try {
      drive(this.#machine.host.migrate(hva));
    } catch (error) {
      if (!(error instanceof OperatingError && error.code === 'EBUSY')) throw error;
      this.counts.migrateRefused++;
      return;
    }
    this.counts.migrate++;
    this.neighbor.takeFreedFrame();
  }

  /** A notification, needed or not, makes L0 look into the descriptor and the virtual-APIC page. */
  #notify(): void {
    if (!this.#machine.vcpu.nested.pages.isUsed('pi-desc')) return;
    this.#machine.apic.accept(NOTIFICATION_VECTOR);
    this.counts.notification++;
  }
}
