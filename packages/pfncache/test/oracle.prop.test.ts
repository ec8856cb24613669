import {
  assert,
  createManagedMemory,
  type Gpa,
  gpaToGfn,
  type HostMemory,
  OperatingError,
  PAGE_SIZE,
  type Pfn,
} from '@nvmx/guest-memory';
import type { PageBackend } from '@nvmx/mmu-events';
import { drive, type Op } from '@nvmx/sync';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  createPfncacheBackend,
  PfnCache,
  type PfnCacheOptions,
  PfncacheBackend,
  type PfncachePage,
} from '../src/index.ts';
import { KeepsPageOnError, KeepsReference, WithoutEpoch } from './support/mutants.ts';
import { at, nowhere, readOnlyGpa, slotGpa, unmanagedMemory, World } from './support/world.ts';

const seed = 20_251_121;
const movedGpa = 0x60_0000;
const gpas: readonly Gpa[] = [
  slotGpa,
  at(slotGpa, PAGE_SIZE + 0x40),
  at(slotGpa, 2 * PAGE_SIZE),
  at(movedGpa, 0),
  readOnlyGpa,
  nowhere,
];

type Command =
  | { readonly kind: 'hold' | 'try'; readonly page: number; readonly gpa: number }
  | { readonly kind: 'use' | 'release' | 'deactivate'; readonly page: number }
  | { readonly kind: 'discard' | 'migrate' | 'copy-on-write' | 'reap' | 'fault'; readonly index: number }
  | { readonly kind: 'protect'; readonly index: number; readonly writable: boolean }
  | { readonly kind: 'merge'; readonly index: number; readonly drop: number }
  | { readonly kind: 'move' | 'move-back' | 'delete' | 'other-slot' };

const page = fc.nat(2);
const index = fc.nat(2);
const commands: fc.Arbitrary<Command> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constantFrom('hold', 'try'), page, gpa: fc.nat(gpas.length - 1) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constantFrom('use', 'release', 'deactivate'), page }) },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constantFrom('discard', 'migrate', 'copy-on-write', 'reap', 'fault'), index }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('protect'), index, writable: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('merge'), index, drop: index }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom('move', 'move-back', 'delete', 'other-slot') }) },
);

/** What was programmed when a hold succeeded. */
interface Programmed {
  readonly held: PfncachePage;
  readonly gpa: Gpa;
  readonly pfn: Pfn;
  readonly birth: number;
  readonly stamp: number;
}

/** Three pages of one backend, and the oracle: `vm.currentPfn()`, births, and the bytes that the guest reads. */
class Model {
  readonly world: World;
  readonly backend: PageBackend;
  readonly pages: readonly PfncachePage[];
  readonly #programmed: Programmed[] = [];

  constructor(memory: HostMemory, create: (world: World) => PageBackend) {
    this.world = new World({ memory });
    this.backend = create(this.world);
    this.pages = (['write', 'read', 'write'] as const).map(
      (access, vcpu) =>
        this.backend.openPage({ role: 'virtual-apic', vcpu, access, usedByHardware: true }) as PfncachePage,
    );
  }

  run(list: readonly Command[]): void {
    for (const command of list) {
      this.#step(command);
      this.#checkProgrammed();
      for (const held of this.pages) this.#checkPage(held);
    }
    drive(this.backend.close());
    assert(this.backend.statistics.maps === this.backend.statistics.unmaps, 'maps and unmaps differ (I4)');
    this.world.finish();
  }

  #step(command: Command): void {
    if (command.kind === 'hold') this.#hold(this.pages[command.page]!, gpas[command.gpa]!);
    else if (command.kind === 'try') {
      const held = this.pages[command.page]!;
      if (held.tryHold(gpas[command.gpa]!)) assert(held.gpa === gpas[command.gpa], 'a hit for another address');
    } else if (command.kind === 'use') this.#use(this.pages[command.page]!);
    else if (command.kind === 'release') this.pages[command.page]!.release({ dirty: true });
    else if (command.kind === 'deactivate') drive(this.pages[command.page]!.deactivate());
    else attempt(this.#event(command));
  }

  #hold(held: PfncachePage, gpa: Gpa): void {
    const outcome = drive(held.hold(gpa));
    if (!outcome.ok) {
      assert(held.gpa === undefined, 'a failed hold left something');
      return;
    }
    const stamp = held.stamp();
    assert(held.isCurrent(stamp), 'just held, and not current');
    assert(held.pfn === this.world.pfnOf(gpa), 'a hold found another frame');
    const birth = this.world.memory.frames.birth(held.pfn);
    this.#programmed.push({ held, gpa, pfn: held.pfn, birth, stamp });
  }

  /** What is written through the view is what the guest reads, and the other way round. */
  #use(held: PfncachePage): void {
    if (!held.beginUse()) return;
    const wrote = held.request.access === 'write';
    const value = (this.#programmed.length * 2_654_435_761) >>> 0;
    if (wrote) held.view.setU32(0x7fc, value);
    const seen = held.view.u32(0x7fc);
    held.endUse({ wrote });
    const bytes = new Uint8Array(4);
    drive(this.world.vm.readGuest((held.gpa! - (held.gpa! % PAGE_SIZE) + 0x7fc) as Gpa, bytes));
    assert(new DataView(bytes.buffer).getUint32(0, true) === seen, 'the guest reads something else');
  }

  *#event(command: Command): Op<unknown> {
    const { host, vm } = this.world;
    if ('index' in command) {
      const range = this.world.range(command.index);
      if (command.kind === 'discard') return yield* host.discard(range);
      if (command.kind === 'migrate') return yield* host.migrate(range.start);
      if (command.kind === 'copy-on-write') return yield* host.copyOnWrite(range.start);
      if (command.kind === 'reap') return yield* host.reap(this.world.range(command.index, 2));
      if (command.kind === 'fault') return yield* host.fault(range.start, { write: false });
      if (command.kind === 'protect') return yield* host.protect(range, { writable: command.writable });
      if (command.kind === 'merge') return yield* this.#merge(command);
    }
    if (command.kind === 'move') return yield* this.world.setSlot({ gpa: movedGpa });
    if (command.kind === 'move-back') return yield* this.world.setSlot();
    if (command.kind === 'delete') return yield* this.world.setSlot({ bytes: 0 });
    return yield* vm.setMemoryRegion({ slot: 9, gpa: 0x70_0000, bytes: PAGE_SIZE, hva: this.world.plainHva });
  }

  #merge(o: { index: number; drop: number }): Op<void> {
    return this.world.host.merge({ keep: this.world.range(o.index).start, drop: this.world.range(o.drop).start });
  }

  /** I1, I2: whoever gets in sees the frame that the guest has now, in this life of it. */
  #checkPage(held: PfncachePage): void {
    const { cache } = held;
    assert(!cache.valid || cache.active, 'valid and not active (I1)');
    assert(!cache.active || cache.listed, 'active and not on the list (I1)');
    if (!held.beginUse()) return;
    const current = this.world.vm.currentPfn(gpaToGfn(held.gpa!));
    held.endUse();
    assert(cache.pfn === current, 'a stale page is in use (I2)');
    assert(held.isCurrent(cache.stamp()), 'usable, and its stamp is not current');
  }

  /** A stamp that is current stands for the frame that was programmed under it, in the same life (I7). */
  #checkProgrammed(): void {
    for (const { held, gpa, pfn, birth, stamp } of this.#programmed) {
      if (!held.isCurrent(stamp)) continue;
      assert(this.world.pfnOf(gpa) === pfn, 'a current stamp, and another frame (I7)');
      assert(this.world.memory.frames.birth(pfn) === birth, 'a current stamp, and another life of the frame (I7)');
    }
  }
}

/** Host events may have nothing to do, or be refused: that is no error of the cache. */
function attempt(op: Op<unknown>): void {
  try {
    drive(op);
  } catch (error) {
    if (!(error instanceof OperatingError)) throw error;
  }
}

function search(memory: HostMemory, runs: number, create: (world: World) => PageBackend): string | undefined {
  const property = fc.property(fc.array(commands, { minLength: 4, maxLength: 40 }), (list) => {
    new Model(memory, create).run(list);
  });
  const { errorInstance } = fc.check(property, { seed, numRuns: runs, endOnFailure: true });
  return errorInstance === null || errorInstance === undefined ? undefined : (errorInstance as Error).message;
}

test('any run of holds, uses, host events and slot updates agrees with the oracle, on managed memory', () => {
  const memory = createManagedMemory({ guestFrames: 64, kernelFrames: 4 });
  expect(search(memory, 600, (world) => createPfncacheBackend(world.vm))).toBeUndefined();
});

test.skipIf(unmanagedMemory() === undefined)('... and on unmanaged memory, with real mappings', () => {
  const memory = unmanagedMemory()!;
  expect(search(memory, 300, (world) => createPfncacheBackend(world.vm))).toBeUndefined();
  memory.close();
});

/** Hears of no invalidation. */
class Deaf extends PfnCache {
  override *invalidateRange(): Op<void> {}
}

/** Takes any hit for a current one. */
class Trusting extends PfnCache {
  override isUsable(): boolean {
    return this.valid;
  }
}

const wrong: readonly [new (o: PfnCacheOptions) => PfnCache, string][] = [
  [Deaf, '(I7)'],
  [Trusting, '(I7)'],
  [WithoutEpoch, '(I7)'],
  [KeepsPageOnError, 'is not live'],
  [KeepsReference, 'nobody gave back'],
];

for (const [Variant, symptom] of wrong) {
  test(`the oracle is no rubber stamp: it finds ${Variant.name}, ${symptom}`, () => {
    class VariantBackend extends PfncacheBackend {
      protected override createCache(o: PfnCacheOptions): PfnCache {
        return new Variant(o);
      }
    }
    const memory = createManagedMemory({ guestFrames: 64, kernelFrames: 4 });
    expect(search(memory, 600, (world) => new VariantBackend(world.vm)) ?? 'nothing').toContain(symptom);
  });
}
