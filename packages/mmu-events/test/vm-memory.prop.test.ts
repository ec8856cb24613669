import { createManagedMemory, type Gfn, type Gpa, type HostMemory, type Hva } from '@nvmx/guest-memory';
import { drive, type Op } from '@nvmx/sync';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { HostAddressSpace, type MemoryRegion, VmMemory } from '../src/index.ts';
import { ARENA_PAGES, GUEST_FRAMES, NaiveVm } from './support/naive-vm.ts';
import { at, failure, pages } from './support/world.ts';

/** The VM under test and what it should be. */
class Pair {
  readonly naive = new NaiveVm();
  readonly memory: HostMemory = createManagedMemory({ guestFrames: 64, kernelFrames: 4 });
  readonly host = new HostAddressSpace({ memory: this.memory });
  readonly vm = new VmMemory({ host: this.host });
  readonly arena: Hva = this.host.mmap({ pages: ARENA_PAGES });

  page(index: number): Hva {
    return at(this.arena, index);
  }

  /** Expects the same answers at every frame, and counters at rest. */
  compare(): void {
    const { naive, vm, host } = this;
    for (let frame = 0; frame < GUEST_FRAMES; frame++) {
      for (const write of [false, true]) {
        const arena = naive.arenaOf(frame, { write });
        const expected = arena === undefined ? undefined : this.page(arena);
        expect(vm.gfnToHva(frame as Gfn, { write }), `frame ${frame}`).toBe(expected);
        if (!write) {
          expect(vm.currentPfn(frame as Gfn)).toBe(expected === undefined ? undefined : host.translate(expected));
        }
      }
    }
    const { generation, tag, count } = vm.memslots;
    expect({ generation, tag, count }).toEqual({
      generation: naive.generation,
      tag: naive.generation * 2,
      count: naive.slots.size,
    });
    const { activeCount, inProgress } = vm.notifier;
    expect([activeCount, inProgress, vm.srcu.readers]).toEqual([0, 0, 0]);
  }

  /** Expects the byte of every arena page, which faults them in. */
  compareBytes(): void {
    const seen = this.naive.bytes.map((_, i) => {
      const target = new Uint8Array(1);
      drive(this.host.read(this.page(i), target));
      return target[0];
    });
    expect(seen).toEqual(this.naive.bytes);
  }

  end(): void {
    drive(this.vm.destroy());
    drive(this.host.destroy());
    expect(this.memory.frames.liveCount('guest')).toBe(0);
  }
}

type Command = (pair: Pair) => void;
const frame = fc.nat(GUEST_FRAMES - 1);
const arenaPage = fc.nat(ARENA_PAGES - 1);

/** A command whose text is what a counterexample shows. */
function command(name: string, run: Command): Command {
  return Object.assign(run, { toString: () => name });
}

const update: fc.Arbitrary<Command> = fc
  .record({
    slot: fc.nat(3),
    gfn: fc.nat(GUEST_FRAMES - 12),
    pages: fc.constantFrom(0, 1, 4, 4, 4, 8),
    arena: fc.constantFrom(0, 0, 4, 8),
    readOnly: fc.constantFrom(false, false, false, true),
    logDirtyPages: fc.boolean(),
  })
  .map(({ slot, gfn, pages: count, arena, readOnly, logDirtyPages }) =>
    command(`update(${[slot, gfn, count, arena, readOnly, logDirtyPages]})`, (pair) => {
      const region: MemoryRegion = {
        slot,
        gpa: gfn * 4096,
        bytes: count * 4096,
        hva: pair.page(arena),
        readOnly,
        logDirtyPages,
      };
      expect(failure(() => pair.vm.setMemoryRegion(region))).toBe(pair.naive.update(region, arena));
    }),
  );

/** Moves a slot that exists, or flips its logging: what random numbers alone would rarely hit. */
const change: fc.Arbitrary<Command> = fc
  .record({ pick: fc.nat(3), gfn: fc.nat(GUEST_FRAMES - 12), flip: fc.boolean() })
  .map(({ pick, gfn, flip }) =>
    command(`change(${[pick, gfn, flip]})`, (pair) => {
      const slot = pair.naive.slots.get(pick);
      if (slot === undefined) return;
      const region: MemoryRegion = {
        slot: pick,
        gpa: (flip ? slot.gfn : gfn) * 4096,
        bytes: slot.pages * 4096,
        hva: pair.page(slot.arena),
        readOnly: slot.readOnly,
        logDirtyPages: flip ? !slot.log : slot.log,
      };
      expect(failure(() => pair.vm.setMemoryRegion(region))).toBe(pair.naive.update(region, slot.arena));
    }),
  );

const guestWrite = fc.tuple(frame, fc.integer({ min: 1, max: 255 })).map(([gfn, byte]) =>
  command(`guestWrite(${gfn}, ${byte})`, ({ vm, naive }) => {
    const code = failure(() => vm.writeGuest((gfn * 4096) as Gpa, Uint8Array.of(byte)));
    expect(code).toBe(naive.writeGuest(gfn, byte));
  }),
);

const hostWrite = fc.tuple(arenaPage, fc.integer({ min: 1, max: 3 })).map(([page, byte]) =>
  command(`hostWrite(${page}, ${byte})`, (pair) => {
    const writable = pair.naive.writable[page]!;
    expect(failure(() => pair.host.write(pair.page(page), Uint8Array.of(byte)))).toBe(writable ? 'none' : 'EFAULT');
    if (writable) pair.naive.bytes[page] = byte;
  }),
);

const drop = fc.tuple(arenaPage, fc.integer({ min: 1, max: 6 }), fc.boolean()).map(([page, length, reap]) =>
  command(`${reap ? 'reap' : 'discard'}(${page}, ${length})`, (pair) => {
    const count = Math.min(length, ARENA_PAGES - page);
    const range = pages(pair.arena, page, count);
    drive(reap ? pair.host.reap(range) : pair.host.discard(range));
    pair.naive.bytes.fill(0, page, page + count);
  }),
);

/** An event that keeps every byte; it may be refused, and then nothing happened. */
function keeping(
  name: string,
  codes: readonly string[],
  event: (pair: Pair, page: number) => Op<unknown>,
): fc.Arbitrary<Command> {
  return arenaPage.map((page) =>
    command(`${name}(${page})`, (pair) => {
      const before = pair.host.translate(pair.page(page));
      const code = failure(() => event(pair, page));
      expect(['none', ...codes]).toContain(code);
      const after = pair.host.translate(pair.page(page));
      if (name === 'migrate') expect(after === before).toBe(code !== 'none');
    }),
  );
}

const migrate = keeping('migrate', ['ENOENT', 'EBUSY'], (pair, page) => pair.host.migrate(pair.page(page)));
const copy = keeping('copyOnWrite', ['EFAULT'], (pair, page) => pair.host.copyOnWrite(pair.page(page)));
const merge = fc.tuple(arenaPage, arenaPage).map(([keep, dropped]) =>
  command(`merge(${keep}, ${dropped})`, (pair) => {
    const code = failure(() => pair.host.merge({ keep: pair.page(keep), drop: pair.page(dropped) }));
    expect(['none', 'EINVAL', 'ENOENT', 'EAGAIN']).toContain(code);
    if (code === 'none') expect(pair.naive.bytes[keep]).toBe(pair.naive.bytes[dropped]);
    if (code === 'EAGAIN') expect(pair.naive.bytes[keep]).not.toBe(pair.naive.bytes[dropped]);
  }),
);

const protect = fc.tuple(arenaPage, fc.boolean()).map(([page, writable]) =>
  command(`protect(${page}, ${writable})`, (pair) => {
    drive(pair.host.protect(pages(pair.arena, page), { writable }));
    pair.naive.writable[page] = writable;
  }),
);

const harvest = fc.nat(3).map((slot) =>
  command(`harvest(${slot})`, ({ vm, naive }) => {
    const expected = naive.slots.get(slot);
    if (expected?.log !== true) {
      expect(() => vm.harvestDirty(slot)).toThrow(expect.objectContaining({ code: 'ENOENT' }));
      return;
    }
    const bitmap = vm.harvestDirty(slot);
    const bits = [...bitmap].flatMap((byte, i) =>
      [0, 1, 2, 3, 4, 5, 6, 7].filter((b) => byte & (1 << b)).map((b) => i * 8 + b),
    );
    expect(bits).toEqual([...expected.dirty].sort((a, b) => a - b));
    expected.dirty.clear();
  }),
);

const anyCommand = fc.oneof(
  { weight: 6, arbitrary: update },
  { weight: 4, arbitrary: change },
  { weight: 6, arbitrary: guestWrite },
  { weight: 4, arbitrary: hostWrite },
  { weight: 3, arbitrary: drop },
  { weight: 3, arbitrary: migrate },
  { weight: 2, arbitrary: copy },
  { weight: 4, arbitrary: merge },
  { weight: 2, arbitrary: protect },
  { weight: 3, arbitrary: harvest },
);

describe('a VM is what the naive model says', () => {
  test('translations, generations, errors, bytes and dirty pages, after every command of every sequence', () => {
    fc.assert(
      fc.property(fc.array(anyCommand, { maxLength: 60 }), (commands) => {
        const pair = new Pair();
        for (const run of commands) {
          run(pair);
          pair.compare();
        }
        pair.compareBytes();
        pair.end();
      }),
      { seed: 20_260_102, numRuns: 150 },
    );
  });
});
