import {
  AssertionError,
  assert,
  createManagedMemory,
  type HostMemory,
  type Hva,
  OperatingError,
  PAGE_SIZE,
  type Pfn,
} from '@nvmx/guest-memory';
import type { SecondaryMmu } from '@nvmx/mmu-events';
import { Mutex, type Op, point } from '@nvmx/sync';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { PfnCache, type PfnCacheOptions } from '../src/index.ts';
import * as mutants from './support/mutants.ts';
import { runSchedule, type Turn } from './support/schedule.ts';
import { at, slotGpa, World } from './support/world.ts';

const seed = 20_260_102;
const inside = point('reader: inside');
const programmed = point('vcpu: vmcs02 is programmed');
const entering = point('vcpu: in guest mode, before the check');
const inGuest = point('vcpu: hardware uses the page');

type Event = 'discard' | 'migrate' | 'copy-on-write' | 'protect';
const events: readonly Event[] = ['discard', 'migrate', 'copy-on-write', 'protect'];

interface Plan {
  readonly host: readonly { readonly event: Event; readonly page: number }[];
  readonly slots: readonly ('move' | 'delete' | 'other')[];
  readonly moves: readonly number[];
  readonly turns: readonly Turn[];
}

const plans: fc.Arbitrary<Plan> = fc.record({
  host: fc.array(fc.record({ event: fc.constantFrom(...events), page: fc.nat(1) }), { minLength: 1, maxLength: 4 }),
  slots: fc.array(fc.constantFrom('move', 'delete', 'other'), { maxLength: 1 }),
  moves: fc.array(fc.nat(1), { minLength: 1, maxLength: 4 }),
  turns: fc.array(
    fc.record({ task: fc.nat(5), steps: fc.oneof(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 40 })) }),
    {
      minLength: 4,
      maxLength: 32,
    },
  ),
});

/**
 * A vCPU that programs the page and lets hardware use it, a second user of its cache, the host, and the slot updater.
 * The second user refreshes the cache only while the vCPU is out of guest mode: that is what the owner alone may do.
 */
class Scene {
  readonly #vcpuMutex = new Mutex('vcpu->mutex');
  readonly world: World;
  readonly cache: PfnCache;
  /** Pages of the plain slot that host events are between start and end of, in which nothing may become valid. */
  readonly #changing = new Set<Hva>();
  #readersInside = 0;
  /** What hardware uses now: the frame that was programmed, and the host page that it stands for. */
  #guest: { pfn: Pfn; hva: Hva } | undefined;
  #enteringGuest = false;

  constructor(memory: HostMemory, create: (o: PfnCacheOptions) => PfnCache) {
    this.world = new World({ memory });
    this.cache = create({ vm: this.world.vm, vcpu: 0 });
    const { host } = this.world;
    for (const [step, set] of [
      ['invalidateRangeStart', 'add'],
      ['invalidateRangeEnd', 'delete'],
    ] as const) {
      // Listens after the VM: sees a start when it has returned, and an end when it is over.
      host.subscribe({ *invalidateRangeStart() {}, *invalidateRangeEnd() {}, [step]: this.#note(set) });
    }
    this.world.vm.addSecondaryMmu(this.#vcpu());
  }

  /** I1, I2, I3 and I7, after every step of every task. */
  check(): void {
    const { cache, world } = this;
    assert(!cache.valid || cache.active, 'valid and not active (I1)');
    assert(!cache.active || cache.listed, 'active and not on the list (I1)');
    const current = cache.hva === undefined ? undefined : world.host.translate(cache.hva);
    if (this.#readersInside > 0) assert(current === cache.pfn, 'a reader inside sees a stale page (I2)');
    if (this.#guest !== undefined) {
      assert(world.host.translate(this.#guest.hva) === this.#guest.pfn, 'hardware uses a stale page (I7)');
    }
    for (const hva of this.#changing) {
      assert(!cache.valid || cache.hva !== hva, 'valid between the start and the end of an invalidation (I3)');
    }
  }

  tasks(plan: Plan): Op<unknown>[] {
    const tasks = [this.#vcpuLoop(plan.moves), this.#reader(plan.moves.length), this.#hostEvents(plan.host)];
    return plan.slots.length === 0 ? tasks : [...tasks, this.#slotUpdates(plan.slots)];
  }

  finish(): void {
    this.world.finish(this.cache);
  }

  *#vcpuLoop(moves: readonly number[]): Op<void> {
    for (const page of moves) {
      const token = this.world.vm.srcu.enter();
      const outcome = yield* this.cache.activate(at(slotGpa, page * PAGE_SIZE), 4);
      this.world.vm.srcu.exit(token);
      if (outcome.ok) yield* this.#enterGuest({ pfn: outcome.pfn, hva: this.world.range(page).start }, outcome.stamp);
    }
    yield* this.cache.deactivate();
  }

  /** V4 .. V7: first the mode, then the check; a kick waits for the mode. */
  *#enterGuest(page: { pfn: Pfn; hva: Hva }, stamp: number): Op<void> {
    yield programmed;
    yield* this.#vcpuMutex.lock();
    this.#enteringGuest = true;
    yield entering;
    if (this.cache.isCurrent(stamp)) {
      this.#guest = page;
      yield inGuest;
      yield inGuest;
    }
    this.#guest = undefined;
    this.#enteringGuest = false;
    this.#vcpuMutex.unlock();
  }

  *#reader(rounds: number): Op<void> {
    for (let i = 0; i < rounds; i++) {
      const token = this.world.vm.srcu.enter();
      if (this.cache.beginUse()) {
        this.#readersInside++;
        yield inside;
        this.#readersInside--;
        this.cache.endUse({ wrote: true });
      } else {
        yield* this.#vcpuMutex.lock();
        yield* this.cache.refresh(4);
        this.#vcpuMutex.unlock();
      }
      this.world.vm.srcu.exit(token);
    }
  }

  *#hostEvents(list: Plan['host']): Op<void> {
    for (const { event, page } of list) {
      try {
        yield* this.#hostEvent(event, page);
      } catch (error) {
        if (!(error instanceof OperatingError)) throw error;
      }
    }
  }

  #hostEvent(event: Event, page: number): Op<unknown> {
    const { host } = this.world;
    const range = this.world.range(page);
    if (event === 'discard') return host.discard(range);
    if (event === 'migrate') return host.migrate(range.start);
    if (event === 'copy-on-write') return host.copyOnWrite(range.start);
    return host.protect(range, { writable: true });
  }

  *#slotUpdates(list: Plan['slots']): Op<void> {
    for (const update of list) {
      if (update === 'move') yield* this.world.setSlot({ gpa: 0x60_0000 });
      if (update === 'delete') yield* this.world.setSlot({ bytes: 0 });
      const other = { slot: 9, gpa: 0x70_0000, bytes: PAGE_SIZE, hva: this.world.plainHva };
      yield* update === 'other' ? this.world.vm.setMemoryRegion(other) : this.world.setSlot();
    }
  }

  #note(what: 'add' | 'delete'): (event: { start: Hva; end: Hva }) => Op<void> {
    const changing = this.#changing;
    return function* (event) {
      for (let hva = event.start; hva < event.end; hva = (hva + PAGE_SIZE) as Hva) changing[what](hva);
    };
  }

  #vcpu(): SecondaryMmu {
    const out = { name: 'kick: out of guest mode', kind: 'wait', ready: () => !this.#enteringGuest } as const;
    return {
      vcpu: 0,
      zapGfnRange: () => {},
      *kick() {
        yield out;
      },
    };
  }
}

/** The first plan that breaks an invariant, as its message. */
function search(create: (o: PfnCacheOptions) => PfnCache, runs: number): string | undefined {
  // One memory for all runs: each leaves it as it was, and the births go on.
  const memory = createManagedMemory({ guestFrames: 64, kernelFrames: 4 });
  const property = fc.property(plans, (plan) => {
    const scene = new Scene(memory, create);
    runSchedule(scene.tasks(plan), plan.turns, () => scene.check());
    scene.finish();
  });
  const { errorInstance } = fc.check(property, { seed, numRuns: runs, endOnFailure: true });
  if (errorInstance === null || errorInstance === undefined) return undefined;
  return errorInstance instanceof AssertionError ? errorInstance.message : String(errorInstance);
}

test('random schedules of a vCPU, a reader, host events and slot updates break no invariant (I1 .. I4, I7, I10)', () => {
  expect(search((o) => new PfnCache(o), 800)).toBeUndefined();
});

const symptoms: readonly [new (o: PfnCacheOptions) => PfnCache, string][] = [
  [mutants.ValidDuringRefresh, '(I3)'],
  [mutants.RetriesOnSequenceAlone, '(I3)'],
  [mutants.RetriesOnInProgress, '(I3)'],
  [mutants.WithoutRefreshMutex, 'somebody else made the cache valid'],
  [mutants.KeepsPageOnError, 'is not live'],
  [mutants.KeepsReference, 'nobody gave back'],
  [mutants.WithoutEpoch, '(I7)'],
  [mutants.ActiveBeforeListed, '(I1)'],
  [mutants.UnlistedBeforeInactive, '(I1)'],
];

for (const [Mutant, symptom] of symptoms) {
  test(`the same search finds ${Mutant.name}: ${symptom}`, () => {
    expect(search((o) => new Mutant(o), 3000) ?? 'nothing').toContain(symptom);
  });
}
