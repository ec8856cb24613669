import { createManagedMemory, type HostMemory, OperatingError, PAGE_SIZE } from '@nvmx/guest-memory';
import type { HeldPage } from '@nvmx/mmu-events';
import { drive, type Op } from '@nvmx/sync';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createHostMapBackend } from '../src/index.ts';
import { at, nowhere, readOnlyGpa, slotGpa, unmanagedMemory, World } from './support/world.ts';

const seed = 20_251_102;
const gpas = [slotGpa, at(slotGpa, PAGE_SIZE), at(slotGpa, 2 * PAGE_SIZE + 8), readOnlyGpa, nowhere];

const command = fc.oneof(
  fc.record({ kind: fc.constant('hold' as const), page: fc.nat(2), gpa: fc.nat(gpas.length - 1) }),
  fc.record({ kind: fc.constantFrom('release', 'deactivate', 'use'), page: fc.nat(2) }),
  fc.record({ kind: fc.constantFrom('discard', 'migrate', 'copy-on-write'), index: fc.nat(2) }),
  fc.record({ kind: fc.constantFrom('move', 'move-back', 'delete') }),
);
type Command = typeof command extends fc.Arbitrary<infer T> ? T : never;

function perform(world: World, pages: readonly HeldPage[], one: Command): void {
  if ('page' in one) {
    const page = pages[one.page]!;
    if ('gpa' in one) attempt(page.hold(gpas[one.gpa]!));
    else if (one.kind === 'release') page.release({ dirty: true });
    else if (one.kind === 'deactivate') drive(page.deactivate());
    else if (page.beginUse()) page.endUse();
  } else if ('index' in one) {
    const range = world.range(one.index);
    if (one.kind === 'discard') attempt(world.host.discard(range));
    else attempt(one.kind === 'migrate' ? world.host.migrate(range.start) : world.host.copyOnWrite(range.start));
  } else if (one.kind === 'delete') attempt(world.setSlot({ bytes: 0 }));
  else attempt(world.setSlot(one.kind === 'move' ? { gpa: 0x60_0000 } : {}));
}

/** Host events may have nothing to do, or be refused: that is no error of the map. */
function attempt(op: Op<unknown>): void {
  try {
    drive(op);
  } catch (error) {
    if (!(error instanceof OperatingError)) throw error;
  }
}

/** I4 after every step: as many mappings as held pages; a held managed frame is pinned and alive, and no other is pinned. */
function balances(create: () => HostMemory, list: readonly Command[]): void {
  const world = new World(create());
  const backend = createHostMapBackend(world.vm);
  const pages = (['write', 'read', 'write'] as const).map((access, vcpu) =>
    backend.openPage({ role: 'pi-desc', vcpu, access, usedByHardware: true }),
  );
  const { frames, frameCount, kind } = world.memory;
  for (const one of list) {
    perform(world, pages, one);
    const held = pages.filter((page) => page.gpa !== undefined);
    expect(world.memory.liveMappings).toBe(held.length);
    if (kind === 'unmanaged') continue;
    const pinned = [...Array(frameCount).keys()].filter((pfn) => frames.pinned(pfn as never));
    expect(new Set(pinned)).toEqual(new Set(held.map((page) => page.pfn)));
    for (const page of held) expect(frames.birth(page.pfn)).not.toBe(0);
  }
  drive(backend.close());
  world.finish();
}

const managed = (): HostMemory => createManagedMemory({ guestFrames: 24, kernelFrames: 4 });

test('mappings and pins balance through any run of holds, releases, host events and slot updates (I4)', () => {
  const property = fc.property(fc.array(command, { maxLength: 30 }), (list) => balances(managed, list));
  fc.assert(property, { seed, numRuns: 150 });
});

test.skipIf(unmanagedMemory() === undefined)('... and on unmanaged memory, with real mappings', () => {
  const property = fc.property(fc.array(command, { maxLength: 30 }), (list) =>
    balances(() => unmanagedMemory()!, list),
  );
  fc.assert(property, { seed, numRuns: 60 });
});
