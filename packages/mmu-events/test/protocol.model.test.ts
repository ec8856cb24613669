import type { Gfn, Pfn } from '@nvmx/guest-memory';
import { drive, type Op, point } from '@nvmx/sync';
import { describe, expect, test } from 'vitest';
import { HostAddressSpace, InvalidationState, type SecondaryMmu, VmMemory } from '../src/index.ts';
import { everySchedule, type Scenario } from './support/interleave.ts';
import { at, BASE_GPA, createWorld, endWorld, gfn, pages, region, type World, writeByte } from './support/world.ts';

const between = point('test: between two steps');
const FAR = 0x100_0000;
const farFrame = (FAR / 4096) as Gfn;

/** Holds translations as an EPT does, for the oracle. */
class Translations implements SecondaryMmu {
  readonly map = new Map<number, Pfn>();

  zapGfnRange(start: Gfn, end: Gfn): void {
    for (const page of [...this.map.keys()]) if (page >= start && page < end) this.map.delete(page);
  }
}

function expectRest(world: World): void {
  const { activeCount, inProgress } = world.vm.notifier;
  expect({ activeCount, inProgress }).toEqual({ activeCount: 0, inProgress: 0 });
}

function expectNoStaleTranslation(world: World, translations: Translations): void {
  for (const [page, pfn] of translations.map) {
    expect(world.vm.currentPfn(page as Gfn), `translation of frame ${page}`).toBe(pfn);
  }
}

/** A slot appears, or goes, while an event on its host range is under way (MS-01). */
const slotDuringEvent =
  (change: { bytes?: number; gpa?: number }, o: { existing: boolean } = { existing: true }) =>
  (Vm: typeof VmMemory): Scenario => {
    const world = createWorld({ Vm });
    if (!o.existing) drive(world.vm.setMemoryRegion(region(world, { bytes: 0 })));
    return {
      tasks: [
        () => world.host.discard(pages(world.hva, 0)),
        () => world.vm.setMemoryRegion(region(world, change)),
        () => world.host.discard(pages(world.hva, 1)),
      ],
      check: () => expectRest(world),
    };
  };

/** A page fault resolves a frame while the host takes it away (NV-19). */
function faultDuringEvent(Vm: typeof VmMemory): Scenario {
  const world = createWorld({ Vm });
  const translations = new Translations();
  world.vm.addSecondaryMmu(translations);
  writeByte(world, world.hva, 1);
  const install = ({ pfn }: { pfn: Pfn }): void => void translations.map.set(gfn(0), pfn);
  return {
    tasks: [() => world.vm.pageFault(gfn(0), { write: true, install }), () => world.host.migrate(world.hva)],
    check: () => expectNoStaleTranslation(world, translations),
  };
}

/** A page fault maps from a slot while the slot is deleted. */
function faultDuringDelete(Vm: typeof VmMemory): Scenario {
  const world = createWorld({ Vm });
  const translations = new Translations();
  world.vm.addSecondaryMmu(translations);
  writeByte(world, world.hva, 1);
  const install = ({ pfn }: { pfn: Pfn }): void => void translations.map.set(gfn(0), pfn);
  return {
    tasks: [
      () => world.vm.pageFault(gfn(0), { write: true, install }),
      () => world.vm.setMemoryRegion(region(world, { bytes: 0 })),
    ],
    check: () => expectNoStaleTranslation(world, translations),
  };
}

/** A reader caches a translation under a tag that it reads late (MS-02, MS-03). */
function cachedTranslation(Vm: typeof VmMemory): Scenario {
  const world = createWorld({ Vm });
  const cached: { hva: number | undefined; tag: number }[] = [];
  function* reader(): Op<void> {
    const token = world.vm.srcu.enter();
    const slot = world.vm.memslots.find(farFrame);
    yield between;
    const hva = slot === undefined || slot.invalid ? undefined : slot.hvaOf(farFrame);
    cached.push({ hva, tag: world.vm.memslots.tag });
    world.vm.srcu.exit(token);
  }
  return {
    tasks: [() => world.vm.setMemoryRegion(region(world, { gpa: FAR })), reader],
    check() {
      const now = { hva: world.vm.gfnToHva(farFrame, { write: false }), tag: world.vm.memslots.tag };
      for (const one of cached) if (one.tag === now.tag) expect(one).toEqual(now);
    },
  };
}

/** A writer marks a page dirty in a slot that is deleted (I6). */
function writerDuringDelete(Vm: typeof VmMemory): Scenario {
  const world = createWorld({ Vm, region: { logDirtyPages: true } });
  function* writer(): Op<void> {
    const token = world.vm.srcu.enter();
    const slot = world.vm.memslots.find(gfn(0));
    yield between;
    if (slot !== undefined) world.vm.markDirtyInSlot(slot, gfn(0));
    world.vm.srcu.exit(token);
  }
  return {
    tasks: [writer, () => world.vm.setMemoryRegion(region(world, { bytes: 0 }))],
    check: () => expect(world.vm.memslots.count).toBe(0),
  };
}

/** A cache by the book: invalid while it resolves, and resolved again when an invalidation came between (R5 .. R11). */
function refreshDuringEvent(Vm: typeof VmMemory): Scenario {
  const world = createWorld({ Vm });
  const hva = world.host.mmap({ pages: 1 });
  drive(world.vm.setMemoryRegion({ slot: 1, gpa: FAR, bytes: 4096, hva }));
  writeByte(world, hva, 1);
  const cache = { pfn: undefined as Pfn | undefined };
  world.vm.registerCache({
    hvaPage: () => hva / 4096,
    *invalidateRange(): Op<void> {
      cache.pfn = undefined;
    },
  });
  function* refresh(): Op<void> {
    for (let attempt = 0; attempt < 10; attempt++) {
      const { sequence } = world.vm.notifier;
      yield between;
      const pfn = yield* world.host.fault(hva, { write: true });
      yield between;
      const { activeCount, sequence: now } = world.vm.notifier;
      if (activeCount === 0 && now === sequence) {
        cache.pfn = pfn;
        return;
      }
      yield { name: 'test: quiet', kind: 'wait', ready: () => world.vm.notifier.activeCount === 0 };
    }
  }
  return {
    tasks: [refresh, () => world.host.discard(pages(hva, 0))],
    check: () => void (cache.pfn !== undefined && expect(cache.pfn).toBe(world.host.translate(hva))),
  };
}

/** A VM is destroyed while an event is under way (teardown). */
function destroyDuringEvent(Vm: typeof VmMemory): Scenario {
  const world = createWorld({ Vm });
  writeByte(world, world.hva, 1);
  return {
    tasks: [() => world.vm.destroy(), () => world.host.discard(pages(world.hva, 0))],
    check() {
      expect(world.vm.notifier.activeCount).toBe(0);
      expect(endWorld(world)).toBe(0);
    },
  };
}

/** A page is written, harvested and shipped: the last copy that was shipped is what the guest sees (I8). */
function harvestDuringWrite(Vm: typeof VmMemory): Scenario {
  const world = createWorld({ Vm, region: { logDirtyPages: true } });
  let shipped = 0;
  function* ship(): Op<void> {
    if (world.vm.harvestDirty(0)[0] === 0) return;
    yield between;
    const target = new Uint8Array(1);
    yield* world.vm.readGuest(BASE_GPA, target);
    shipped = target[0]!;
  }
  function* writeTwice(): Op<void> {
    for (const byte of [7, 8]) {
      yield* world.vm.writeGuest(BASE_GPA, Uint8Array.of(byte));
      yield between;
    }
  }
  return {
    tasks: [writeTwice, ship],
    check() {
      drive(ship());
      const target = new Uint8Array(1);
      drive(world.vm.readGuest(BASE_GPA, target));
      expect(shipped).toBe(target[0]);
    },
  };
}

/** A page is harvested and shipped while a vCPU faults it in, and writes through its translation (I8). */
function harvestDuringFault(Vm: typeof VmMemory): Scenario {
  const world = createWorld({ Vm, region: { logDirtyPages: true } });
  const translations = new Translations();
  world.vm.addSecondaryMmu(translations);
  writeByte(world, world.hva, 1);
  let shipped = 1;
  function* vcpu(): Op<void> {
    const install = ({ pfn }: { pfn: Pfn }): void => void translations.map.set(gfn(0), pfn);
    for (let pfn: Pfn | undefined; pfn === undefined; pfn = translations.map.get(gfn(0))) {
      yield* world.vm.pageFault(gfn(0), { write: true, install });
      yield between;
    }
    world.memory.u8[translations.map.get(gfn(0))! * 4096] = 7;
  }
  function* ship(): Op<void> {
    if (world.vm.harvestDirty(0)[0] === 0) return;
    yield between;
    shipped = world.memory.u8[world.host.translate(world.hva)! * 4096]!;
  }
  return {
    tasks: [vcpu, ship],
    check() {
      drive(ship());
      expect(shipped).toBe(7);
    },
  };
}

const scenarios: Record<string, (Vm: typeof VmMemory) => Scenario> = {
  'a slot is created during an event': slotDuringEvent({}, { existing: false }),
  'a slot is deleted during an event': slotDuringEvent({ bytes: 0 }),
  'a slot is moved during an event': slotDuringEvent({ gpa: FAR }),
  'a page fault during a migration': faultDuringEvent,
  'a page fault during a delete': faultDuringDelete,
  'a cached translation during a move': cachedTranslation,
  'a dirty mark during a delete': writerDuringDelete,
  'a refresh during a discard': refreshDuringEvent,
  'a destroy during an event': destroyDuringEvent,
  'a harvest during a write': harvestDuringWrite,
  'a harvest during a page fault': harvestDuringFault,
};

describe('every schedule with two preemptions ends well, in one lock order, with nobody asleep under a spin lock', () => {
  for (const [name, create] of Object.entries(scenarios)) {
    test(name, () => {
      const outcome = everySchedule(() => create(VmMemory), { preemptionsMax: 2 });
      expect(outcome.failure).toBeUndefined();
      expect(outcome.schedules).toBeGreaterThan(5);
    });
  }
});

describe('each decision of the protocol is needed: a variant without it fails in some schedule', () => {
  class NoWait extends VmMemory {
    protected override mustWaitForInvalidations(): boolean {
      return false;
    }
  }
  class NoRetry extends VmMemory {
    protected override mustRetryFault(): boolean {
      return false;
    }
  }
  class NoGracePeriod extends VmMemory {
    protected override mustSynchronizeReaders(): boolean {
      return false;
    }
  }
  class NoInProgressBit extends VmMemory {
    protected override marksUpdateInProgress(): boolean {
      return false;
    }
  }
  class NoInvalidPhase extends VmMemory {
    protected override needsInvalidPhase(): boolean {
      return false;
    }
  }
  class NoFlush extends VmMemory {
    protected override *flushSlot(): Op<void> {}
  }
  class NoSequence extends VmMemory {
    protected override createInvalidationState(): InvalidationState {
      return new (class extends InvalidationState {
        protected override nextSequence(sequence: number): number {
          return sequence;
        }
      })();
    }
  }
  class RetryOnSequenceAlone extends VmMemory {
    protected override createInvalidationState(): InvalidationState {
      return new (class extends InvalidationState {
        protected override retryInProgress(): boolean {
          return false;
        }
      })();
    }
  }
  class HarvestWithoutProtection extends VmMemory {
    protected override writeProtect(): void {}
  }
  class CachesBeforeCount extends VmMemory {
    override *invalidateRangeStart(event: Parameters<VmMemory['invalidateRangeStart']>[0]): Op<void> {
      yield* this.invalidateCaches(event);
      yield* this.raiseActiveCount();
      yield* this.beginInvalidation(event);
    }
  }
  class CountBeforeSequence extends VmMemory {
    override *invalidateRangeEnd(event: Parameters<VmMemory['invalidateRangeEnd']>[0]): Op<void> {
      yield* this.lowerActiveCount();
      yield* this.endInvalidation(event);
    }
  }

  test.each<[string, typeof VmMemory, string]>([
    ['M3 does not wait for invalidations, create (MS-01)', NoWait, 'a slot is created during an event'],
    ['M3 does not wait for invalidations, delete (MS-01)', NoWait, 'a slot is deleted during an event'],
    ['a page fault installs without the retry rule (NV-19)', NoRetry, 'a page fault during a migration'],
    ['M4 does not wait for readers', NoGracePeriod, 'a dirty mark during a delete'],
    ['M4 does not wait for page faults', NoGracePeriod, 'a page fault during a delete'],
    ['the first snapshot has the final generation (MS-02)', NoInProgressBit, 'a cached translation during a move'],
    ['a delete has no INVALID phase', NoInvalidPhase, 'a page fault during a delete'],
    ['M6 does not zap', NoFlush, 'a page fault during a delete'],
    ['N6 does not step the sequence', NoSequence, 'a page fault during a migration'],
    ['the retry rule ignores invalidations in progress', RetryOnSequenceAlone, 'a page fault during a migration'],
    ['a harvest leaves write access', HarvestWithoutProtection, 'a harvest during a page fault'],
    ['N2 before N1', CachesBeforeCount, 'a refresh during a discard'],
    ['N7 before N6 (GPC-01c)', CountBeforeSequence, 'a refresh during a discard'],
  ])('%s', (_title, Vm, scenario) => {
    expect(everySchedule(() => scenarios[scenario]!(Vm), { preemptionsMax: 2 }).failure).toBeDefined();
  });
});

describe('host events that meet keep the bytes', () => {
  /** Everything that can happen to page 0 besides a discard, while a byte of it is written. */
  const events: Record<string, (w: World) => Op<unknown>> = {
    migrate: (w) => ignoring(['EAGAIN', 'EBUSY'], w.host.migrate(w.hva)),
    'copy-on-write': (w) => w.host.copyOnWrite(w.hva),
    merge: (w) => ignoring(['EAGAIN'], w.host.merge({ keep: at(w.hva, 1), drop: w.hva })),
    protect: (w) => w.host.protect(pages(w.hva, 0), { writable: true }),
  };

  function writeDuring(names: readonly string[], Host: typeof HostAddressSpace): Scenario {
    const world = createWorld({ Host });
    for (const i of [0, 1]) writeByte(world, at(world.hva, i), 5);
    return {
      tasks: [() => world.host.write(world.hva, Uint8Array.of(9)), ...names.map((name) => () => events[name]!(world))],
      check() {
        const bytes = new Uint8Array(2);
        drive(world.host.read(world.hva, bytes.subarray(0, 1)));
        drive(world.host.read(at(world.hva, 1), bytes.subarray(1)));
        expect([...bytes]).toEqual([9, 5]);
        expect(endWorld(world)).toBe(0);
      },
    };
  }

  for (const first of Object.keys(events)) {
    for (const second of Object.keys(events)) {
      test(`a write, ${first} and ${second} of one page`, () => {
        const outcome = everySchedule(() => writeDuring([first, second], HostAddressSpace), { preemptionsMax: 1 });
        expect(outcome.failure).toBeUndefined();
      });
    }
  }

  test('a KSM that does not compare loses bytes, and the model sees it', () => {
    class Careless extends HostAddressSpace {
      protected override sameBytes(): boolean {
        return true;
      }
    }
    expect(
      everySchedule(() => writeDuring(['merge', 'protect'], Careless), { preemptionsMax: 1 }).failure,
    ).toBeDefined();
  });

  test('an event that nobody hears of leaves a stale translation, and the model sees it', () => {
    class Silent extends HostAddressSpace {
      protected override mustNotify(): boolean {
        return false;
      }
    }
    const create = (): Scenario => {
      const world = createWorld({ Host: Silent });
      const translations = new Translations();
      world.vm.addSecondaryMmu(translations);
      const install = ({ pfn }: { pfn: Pfn }): void => void translations.map.set(gfn(0), pfn);
      writeByte(world, world.hva, 1);
      return {
        tasks: [() => world.vm.pageFault(gfn(0), { write: true, install }), () => world.host.migrate(world.hva)],
        check: () => expectNoStaleTranslation(world, translations),
      };
    };
    expect(everySchedule(create, { preemptionsMax: 0 }).failure).toBeDefined();
  });
});

function* ignoring(codes: readonly string[], op: Op<unknown>): Op<void> {
  try {
    yield* op;
  } catch (error) {
    if (!codes.includes((error as { code?: string }).code ?? '')) throw error;
  }
}
