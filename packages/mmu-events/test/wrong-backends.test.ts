import type { Pfn } from '@nvmx/guest-memory';
import type { Op } from '@nvmx/sync';
import { describe, expect, test } from 'vitest';
import type { HoldOutcome, PageRequest } from '../src/index.ts';
import { allPromises, contractCases, runContractCase } from '../src/testing.ts';
import { SimpleCacheBackend, SimpleCachePage } from './support/simple-cache.ts';

/** The titles of the rules that a backend with these pages breaks. */
function broken(Page: new (backend: SimpleCacheBackend, request: PageRequest) => SimpleCachePage): string[] {
  class Backend extends SimpleCacheBackend {
    override createPage(request: PageRequest): SimpleCachePage {
      return new Page(this, request);
    }
  }
  const applicable = contractCases.filter((one) => one.applies?.(allPromises) !== false);
  return applicable.filter((one) => fails(one, Backend)).map((one) => one.title);
}

function fails(one: (typeof contractCases)[number], Backend: typeof SimpleCacheBackend): boolean {
  try {
    runContractCase(one, { kind: 'managed', create: (vm) => new Backend(vm), promises: allPromises });
    return false;
  } catch {
    return true;
  }
}

test('the right backend breaks no rule', () => {
  expect(broken(SimpleCachePage)).toEqual([]);
});

const wrong: Readonly<Record<string, [typeof SimpleCachePage, RegExp]>> = {
  'ignores invalidations': [
    class extends SimpleCachePage {
      protected override invalidateLocked(): void {}
    },
    /^discard takes a held page away/,
  ],
  'ignores the memslot generation': [
    class extends SimpleCachePage {
      protected override isRight(): boolean {
        return this.valid;
      }
    },
    /^a moved memslot/,
  ],
  'believes a flag that anybody can set again': [
    class extends SimpleCachePage {
      protected override stepEpoch(): void {
        this.epoch = 1;
      }
    },
    /\(ABA\)$/,
  ],
  'stays where it was in the list': [
    class extends SimpleCachePage {
      protected override movesInList(): boolean {
        return false;
      }
    },
    /^discard takes a held page away/,
  ],
  'does not look at the notifier after resolving': [
    class extends SimpleCachePage {
      protected override mustRetry(): boolean {
        return false;
      }
    },
    /between the start and the end of an invalidation/,
  ],
  'marks nothing dirty at the end of a use': [
    class extends SimpleCachePage {
      override endUse(): void {
        super.endUse();
      }
    },
    /\(I8\)$/,
  ],
  'marks every use dirty': [
    class extends SimpleCachePage {
      override endUse(): void {
        super.endUse({ wrote: true });
      }
    },
    /only read marks nothing/,
  ],
  'forgets hardware writes at release': [
    class extends SimpleCachePage {
      override release(): void {}
    },
    /^a dirty release marks/,
  ],
  'leaks its mapping': [
    class extends SimpleCachePage {
      protected override unmap(): void {
        this.mapping = undefined;
      }
    },
    /^deactivate\(\) gives everything up/,
  ],
  'keeps what it had after a failure': [
    class extends SimpleCachePage {
      protected override giveUp(): void {
        this.valid = false;
      }
    },
    /^a failed hold gives up/,
  ],
  'does not compare the gpa': [
    class extends SimpleCachePage {
      override tryHold(): boolean {
        return this.heldGpa !== undefined && this.isRight();
      }
    },
    /^tryHold\(\) of another page is a miss/,
  ],
  'takes no lock for a use': [
    class extends SimpleCachePage {
      override beginUse(): boolean {
        if (!super.beginUse()) return false;
        this.lock.endRead();
        return true;
      }
      override endUse(o?: { wrote: boolean }): void {
        this.lock.tryRead();
        super.endUse(o);
      }
    },
    /waits for a use under way/,
  ],
  'pins its frame': [
    class extends SimpleCachePage {
      #pinned: Pfn | undefined;
      override *hold(gpa: Parameters<SimpleCachePage['hold']>[0]): Op<HoldOutcome> {
        const outcome = yield* super.hold(gpa);
        if (outcome.ok && this.#pinned === undefined && this.backend.vm.memory.frames.pin(this.pfn))
          this.#pinned = this.pfn;
        return outcome;
      }
      override *deactivate(): Op<void> {
        if (this.#pinned !== undefined) this.backend.vm.memory.frames.unpin(this.#pinned);
        this.#pinned = undefined;
        yield* super.deactivate();
      }
    },
    /is not pinned and has one user/,
  ],
};

describe('the contract suite catches a backend that', () => {
  for (const [what, [Page, rule]] of Object.entries(wrong)) {
    test(what, () => {
      expect(broken(Page).filter((title) => rule.test(title))).toHaveLength(1);
    });
  }
});
