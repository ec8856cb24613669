import type { VmMemory } from '@nvmx/mmu-events';
import { PfnCache, type PfnCacheOptions, PfncacheBackend, PfncachePage } from '@nvmx/pfncache';
import type { Op } from '@nvmx/sync';
import { describe, expect, test } from 'vitest';
import { COMPARE_BYTES } from '../src/compare/measure.ts';
import { runStorm } from '../src/compare/storm.ts';
import { readBundledImage } from '../src/guest-images.ts';
import { createMemory } from '../src/memory-choice.ts';

const image = readBundledImage('compare');

function storm(createBackend: (vm: VmMemory) => PfncacheBackend) {
  const memory = createMemory({ kind: 'managed' }, { guestBytes: COMPARE_BYTES });
  try {
    return runStorm({ memory, createBackend, image, iterations: 64, seed: 1, clock: () => 0 });
  } finally {
    memory.close();
  }
}

/** A cache whose stamp does not change when somebody validates it again: the entry test of the v4 series (S-1). */
class SameStamp extends PfnCache {
  protected override stepsEpoch(): boolean {
    return false;
  }
}

/** A cache that no notifier event reaches. */
class Deaf extends PfnCache {
  override *invalidateRange(): Op<void> {}
}

/** A page whose entry test looks at the cache and not at the memslots (S-12). */
class MemslotsIgnored extends PfncachePage {
  override isCurrent(stamp: number): boolean {
    return this.cache.valid && this.cache.epoch === stamp;
  }
}

class Variant extends PfncacheBackend {
  readonly #cache: (o: PfnCacheOptions) => PfnCache;
  readonly #page: (o: ConstructorParameters<typeof PfncachePage>[0]) => PfncachePage;

  constructor(vm: VmMemory, o: { cache?: new (o: PfnCacheOptions) => PfnCache; page?: typeof PfncachePage }) {
    super(vm);
    const { cache = PfnCache, page = PfncachePage } = o;
    this.#cache = (options) => new cache(options);
    this.#page = (options) => new page(options);
  }

  protected override createCache(o: PfnCacheOptions): PfnCache {
    return this.#cache(o);
  }

  protected override createPage(o: ConstructorParameters<typeof PfncachePage>[0]): PfncachePage {
    return this.#page(o);
  }
}

describe('a pfncache with one wrong decision is caught', { timeout: 60_000 }, () => {
  const actors = (o: ConstructorParameters<typeof Variant>[1]) =>
    storm((vm) => new Variant(vm, o)).accesses.byRole.map(({ role, actor }) => `${role} ${actor}`);

  test('none wrong: no stale access', () => expect(actors({})).toEqual([]));

  test('a stamp that a refresh leaves as it was: the processor uses the frame that it was given before', () => {
    expect(actors({ cache: SameStamp })).toEqual(expect.arrayContaining(['virtual-apic processor']));
  });

  test('an entry test without the memslots: the processor goes on in the region that was moved away', () => {
    expect(actors({ page: MemslotsIgnored })).toEqual(expect.arrayContaining(['virtual-apic processor']));
  });

  test('a cache that hears no notifier: L0 and the processor use frames that were given away', () => {
    expect(actors({ cache: Deaf })).toEqual(expect.arrayContaining(['virtual-apic L0', 'virtual-apic processor']));
  });
});
