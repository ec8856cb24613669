import { PAGE_SIZE } from '@nvmx/guest-memory';
import { drive } from '@nvmx/sync';
import { describe, expect, test } from 'vitest';
import { PfnCache, type PfnCacheOptions } from '../src/index.ts';
import * as mutants from './support/mutants.ts';
import { pointsOf, Task } from './support/task.ts';
import { at, eventOf, hvaAt, slotGpa, World } from './support/world.ts';

type Create = (o: PfnCacheOptions) => PfnCache;

/** A bug of the past, as an interleaving: returns what went wrong, or undefined. */
interface Story {
  readonly bug: string;
  readonly mutant: new (o: PfnCacheOptions) => PfnCache;
  /** What the mutant does wrong. */
  readonly symptom: string;
  readonly tell: (world: World, create: Create) => string | undefined;
}

const pageB = at(slotGpa, PAGE_SIZE);

/** I2: a reader inside sees the host's page, and that page is alive. */
function stalePage(world: World, cache: PfnCache): string | undefined {
  if (!cache.beginUse()) return undefined;
  const { hva, pfn } = cache;
  cache.endUse();
  return world.host.translate(hva!) === pfn ? undefined : 'a stale page is in use';
}

/** Runs the task until it ends or waits; the other one goes on then. */
function runBeside(task: Task<unknown>): void {
  task.blocks();
}

const stories: readonly Story[] = [
  {
    bug: 'GPC-01a: a reader comes while the lock is dropped for a refresh',
    mutant: mutants.ValidDuringRefresh,
    symptom: 'a stale page is in use',
    tell(world, create) {
      const cache = world.active(slotGpa, create);
      const move = new Task(cache.activate(pageB, 4)).to('gpc.refresh: lock dropped');
      const wrong = stalePage(world, cache);
      move.finish();
      return wrong;
    },
  },
  {
    bug: 'GPC-01b: a refresh between N2 and N4, which in_progress does not cover',
    mutant: mutants.RetriesOnInProgress,
    symptom: 'a stale page is in use',
    tell(world, create) {
      drive(world.host.fault(world.slotHva, { write: true }));
      const cache = create({ vm: world.vm });
      const event = new Task(world.host.migrate(world.slotHva)).to('notifier: before reading the memslots');
      const activate = new Task(cache.activate(slotGpa, 4));
      runBeside(activate);
      event.to('host mm: after the pte change');
      const wrong = stalePage(world, cache);
      event.finish();
      activate.finish();
      return wrong ?? stalePage(world, cache);
    },
  },
  {
    bug: 'GPC-01b, the other half: a refresh between N4 and N6, whose sequence has not moved yet',
    mutant: mutants.RetriesOnSequenceAlone,
    symptom: 'a stale page is in use',
    tell(world, create) {
      drive(world.host.fault(world.slotHva, { write: true }));
      const cache = create({ vm: world.vm });
      const event = new Task(world.host.migrate(world.slotHva)).until(() => world.vm.notifier.inProgress === 1);
      const activate = new Task(cache.activate(slotGpa, 4));
      runBeside(activate);
      event.to('host mm: after the pte change');
      const wrong = stalePage(world, cache);
      event.finish();
      activate.finish();
      return wrong;
    },
  },
  {
    bug: 'an invalidation outside of every memslot begins and ends between R7 and R9: no counter of KVM has moved',
    mutant: mutants.RetriesAsKvm,
    symptom: 'a stale page is in use',
    tell(world, create) {
      const cache = create({ vm: world.vm });
      const activate = new Task(cache.activateHva(world.plainHva, 4)).to('gpc.refresh: pfn resolved');
      drive(world.host.migrate(world.plainHva));
      activate.finish();
      return stalePage(world, cache);
    },
  },
  {
    bug: 'an invalidation outside of every memslot is past N2 at R6 and over at R9',
    mutant: mutants.ForgetsWhatWasUnderWay,
    symptom: 'a stale page is in use',
    tell(world, create) {
      drive(world.host.fault(world.plainHva, { write: true }));
      const cache = create({ vm: world.vm });
      const event = new Task(world.host.migrate(world.plainHva)).to('host mm: before the pte change');
      const activate = new Task(cache.activateHva(world.plainHva, 4)).to('gpc.refresh: pfn resolved');
      event.finish();
      activate.finish();
      return stalePage(world, cache);
    },
  },
  {
    bug: 'the memslot goes, the page migrates, the memslot comes back, all between R7 and R9 of a caller outside of SRCU',
    mutant: mutants.RetriesAsKvm,
    symptom: 'a stale page is in use',
    tell(world, create) {
      const cache = create({ vm: world.vm });
      const activate = new Task(cache.activate(slotGpa, 4)).to('gpc.refresh: pfn resolved');
      drive(world.setSlot({ bytes: 0 }));
      drive(world.host.migrate(world.slotHva));
      drive(world.setSlot());
      activate.finish();
      drive(cache.refresh(4));
      return stalePage(world, cache);
    },
  },
  {
    bug: 'GPC-02: two refreshes with different addresses at a time',
    mutant: mutants.WithoutRefreshMutex,
    symptom: 'pfncache: somebody else made the cache valid during a refresh',
    tell(world, create) {
      const cache = world.active(slotGpa, create);
      const first = new Task(cache.activate(pageB, 4)).to('gpc.refresh: map');
      const second = new Task(cache.activate(at(slotGpa, 2 * PAGE_SIZE), 4));
      runBeside(second);
      first.finish();
      second.finish();
      return stalePage(world, cache) ?? unbalanced(world, cache);
    },
  },
  {
    bug: 'GPC-03: a refresh fails, and the next one gives the old page back a second time',
    mutant: mutants.KeepsPageOnError,
    symptom: 'memory: unmap: the mapping of pfn 4 is not live',
    tell(world, create) {
      const cache = world.active(slotGpa, create);
      drive(world.setSlot({ bytes: 0 }));
      drive(cache.refresh(4));
      drive(cache.refresh(4));
      return unbalanced(world, cache);
    },
  },
  {
    bug: 'GPC-04: a refresh that finds the same frame',
    mutant: mutants.KeepsReferenceOnReuse,
    symptom: '2 references',
    tell(world, create) {
      const cache = world.active(slotGpa, create);
      drive(cache.invalidateRange(eventOf(world.range(0))));
      drive(cache.refresh(4));
      return leakedReferences(world, cache);
    },
  },
  {
    bug: 'GPC-07: a valid cache holds its page',
    mutant: mutants.KeepsReference,
    symptom: '2 references',
    tell(world, create) {
      return leakedReferences(world, world.active(slotGpa, create));
    },
  },
  {
    bug: 'GPC-06: another offset in the same page is taken for another page',
    mutant: mutants.ComparesWholeHva,
    symptom: 'resolved again',
    tell(world, create) {
      const cache = world.active(slotGpa, create);
      const points = pointsOf(cache.activate(at(slotGpa, 64), 4));
      return points.includes('gpc.refresh: lock dropped') ? 'resolved again' : undefined;
    },
  },
  {
    bug: 'GPC-08: a reader looks at an inactive cache while it is activated again',
    mutant: mutants.MakesNewLocks,
    symptom: 'rw lock gpc.lock: endRead() while nobody reads',
    tell(world, create) {
      const cache = create({ vm: world.vm });
      cache.lock.tryRead();
      const activate = new Task(cache.activate(slotGpa, 4));
      runBeside(activate);
      cache.lock.endRead();
      activate.finish();
      return undefined;
    },
  },
  {
    bug: 'GPC-09: an inactive cache is refreshed, which no notifier finds',
    mutant: mutants.WithoutActiveFlag,
    symptom: 'a stale page is in use',
    tell(world, create) {
      const cache = world.active(slotGpa, create);
      drive(cache.deactivate());
      drive(cache.refresh(4));
      drive(world.host.migrate(world.slotHva));
      return stalePage(world, cache);
    },
  },
  {
    bug: 'GPC-09: active before it is on the list',
    mutant: mutants.ActiveBeforeListed,
    symptom: 'active and not on the list',
    tell(world, create) {
      const cache = create({ vm: world.vm });
      const activate = new Task(cache.activate(slotGpa, 4)).until(() => cache.active);
      const wrong = cache.listed ? undefined : 'active and not on the list';
      activate.finish();
      return wrong;
    },
  },
  {
    bug: 'GPC-09: off the list while it can still be used',
    mutant: mutants.UnlistedBeforeInactive,
    symptom: 'a stale page is in use',
    tell(world, create) {
      const cache = world.active(slotGpa, create);
      const deactivate = new Task(cache.deactivate()).to('gpc.deactivate: still active');
      drive(world.host.migrate(world.slotHva));
      const wrong = stalePage(world, cache);
      deactivate.finish();
      return wrong;
    },
  },
  {
    bug: 'GPC-10: a move within the page',
    mutant: mutants.KeepsOffset,
    symptom: 'offset 0',
    tell(world, create) {
      const cache = world.active(slotGpa, create);
      drive(cache.activate(at(slotGpa, 0x40), 4));
      return cache.offset === 0x40 ? undefined : `offset ${cache.offset}`;
    },
  },
  {
    bug: 'GPC-11: a refresh that finds the same frame maps it anew',
    mutant: mutants.AlwaysMapsAnew,
    symptom: '2 maps',
    tell(world, create) {
      const cache = world.active(slotGpa, create);
      drive(cache.invalidateRange(eventOf(world.range(0))));
      drive(cache.refresh(4));
      return cache.statistics.maps === 1 ? undefined : `${cache.statistics.maps} maps`;
    },
  },
  {
    bug: 'S-1: somebody validates the cache again, and the old frame is still programmed',
    mutant: mutants.WithoutEpoch,
    symptom: 'hardware may use a frame that is gone',
    tell(world, create) {
      const cache = world.active(slotGpa, create);
      const [stamp, programmed] = [cache.stamp(), cache.pfn];
      drive(world.host.migrate(world.slotHva));
      drive(cache.refresh(4));
      const gone = world.host.translate(world.slotHva) !== programmed;
      return gone && cache.isCurrent(stamp) ? 'hardware may use a frame that is gone' : undefined;
    },
  },
];

function leakedReferences(world: World, cache: PfnCache): string | undefined {
  const references = world.memory.frames.references(cache.pfn!);
  return references === 1 ? undefined : `${references} references`;
}

function unbalanced(world: World, cache: PfnCache): string | undefined {
  drive(cache.deactivate());
  const { maps, unmaps } = cache.statistics;
  return maps === unmaps && world.memory.liveMappings === 0 ? undefined : `${maps} maps, ${unmaps} unmaps`;
}

/** What a story comes to; a failed assertion of the packages counts as its text. */
function outcomeOf(story: Story, create: Create): string | undefined {
  try {
    return story.tell(new World(), create);
  } catch (error) {
    return (error as Error).message;
  }
}

describe('bugs of the past, told again', () => {
  for (const story of stories) {
    test(`${story.bug}: the cache is right`, () => {
      expect(outcomeOf(story, (o) => new PfnCache(o))).toBeUndefined();
    });

    test(`${story.bug}: ${story.mutant.name} is not`, () => {
      expect(outcomeOf(story, (o) => new story.mutant(o))).toBe(story.symptom);
    });
  }
});

describe('what moves and when', () => {
  test('the hole that needs no memslot is one of hva caches: the counters that KVM compares stand still', () => {
    const world = new World();
    const before = { ...counters(world) };
    drive(world.host.fault(world.plainHva, { write: true }));
    drive(world.host.migrate(world.plainHva));
    drive(world.host.discard({ start: world.plainHva, end: hvaAt(world.plainHva, PAGE_SIZE) }));
    expect(counters(world)).toEqual(before);
    drive(world.host.fault(world.slotHva, { write: true }));
    drive(world.host.migrate(world.slotHva));
    expect(counters(world).sequence).toBe(before.sequence + 1);
    world.finish();
  });
});

describe('what the owner must see to', () => {
  /** The vCPUs that a migration of the programmed page kicks, after somebody refreshed the cache in a slot update. */
  function kicks(o: { refreshed: boolean }): number {
    const world = new World();
    let count = 0;
    world.vm.addSecondaryMmu({
      vcpu: 0,
      zapGfnRange: () => {},
      *kick() {
        count++;
      },
    });
    const cache = world.cache({ vcpu: 0 });
    drive(cache.activate(slotGpa, 4));
    const update = new Task(world.setSlot({ bytes: 0 })).until(() => world.vm.memslots.updateInProgress);
    if (o.refreshed) drive(cache.refresh(4));
    drive(world.host.migrate(world.slotHva));
    const before = count;
    update.finish();
    return before;
  }

  test('a page stays under watch while hardware uses it, through a memslot update', () => {
    expect(kicks({ refreshed: false })).toBe(1);
  });

  test('a refresh takes the page off the watch: it is for the owner alone, out of guest mode (6.5, rule 3)', () => {
    expect(kicks({ refreshed: true })).toBe(0);
  });
});

function counters(world: World): { activeCount: number; inProgress: number; sequence: number } {
  const { activeCount, inProgress, sequence } = world.vm.notifier;
  return { activeCount, inProgress, sequence };
}
