import type { Gpa } from '@nvmx/guest-memory';
import { drive } from '@nvmx/sync';
import { describe, expect, test } from 'vitest';
import type { ContractCase } from './testing/case.ts';
import { contractCases } from './testing/cases.ts';
import { type CreateBackend, canMapForReal, Fixture, memoryKinds, plainSlot } from './testing/fixture.ts';
import { type BackendPromises, completePromises, type PromiseOptions } from './testing/promises.ts';

export type { ContractCase } from './testing/case.ts';
export { contractCases } from './testing/cases.ts';
export { type CreateBackend, Fixture } from './testing/fixture.ts';
export {
  allPromises,
  type BackendPromises,
  completePromises,
  type HoldFailure,
  type PromiseOptions,
} from './testing/promises.ts';

/**
 * Registers the page-backend contract as vitest suites for one backend: on managed memory, and on unmanaged memory where
 * the platform can map for real (Linux). Call it at the top level of a test file.
 *
 * `options` names what the backend does not promise, and the codes with which it fails. What is not promised is asserted
 * the other way round, so that staleness is documented by a test and cannot appear or vanish unseen.
 */
export function pageBackendContract(name: string, createBackend: CreateBackend, options: PromiseOptions = {}): void {
  const promises = completePromises(options);
  for (const { kind } of memoryKinds) {
    describe.skipIf(kind === 'unmanaged' && !canMapForReal())(`${name} keeps the contract on ${kind} memory`, () => {
      for (const one of contractCases) {
        if (one.applies?.(promises) === false) continue;
        test(one.title, () => runContractCase(one, { kind, create: createBackend, promises }));
      }
      if (kind === 'unmanaged') {
        test('a mapping too many fails as promised, and works when there is room again', () => {
          runOutOfWindows(createBackend, promises);
        });
      }
    });
  }
}

/** Runs one case of the contract in a fixture of its own. Throws when the backend breaks the rule. */
export function runContractCase(
  one: ContractCase,
  o: { kind: 'managed' | 'unmanaged'; create: CreateBackend; promises: BackendPromises },
): void {
  const memory = memoryKinds.find(({ kind }) => kind === o.kind)!.create();
  try {
    const fixture = new Fixture({ memory, create: o.create, promises: o.promises });
    one.run(fixture);
    fixture.finish();
  } finally {
    memory.close();
  }
}

/** The third page does not fit into two windows. */
function runOutOfWindows(create: CreateBackend, promises: BackendPromises): void {
  const memory = memoryKinds.find(({ kind }) => kind === 'unmanaged')!.create({ windows: 2 });
  try {
    const f = new Fixture({ memory, create, promises });
    const pages = [0, 1, 2].map((i) => ({ page: f.open(), gpa: (plainSlot.gpa + i * 4096) as Gpa }));
    f.hold(pages[0]!.page, pages[0]!.gpa);
    f.hold(pages[1]!.page, pages[1]!.gpa);
    f.holdFails(pages[2]!.page, pages[2]!.gpa, promises.failures.outOfMemory);
    expect(memory.liveMappings).toBe(2);
    f.expectCurrent(pages[0]!.page, pages[0]!.gpa);
    pages[0]!.page.release({ dirty: false });
    drive(pages[0]!.page.deactivate());
    f.hold(pages[2]!.page, pages[2]!.gpa);
    f.expectCurrent(pages[2]!.page, pages[2]!.gpa);
    f.finish();
  } finally {
    memory.close();
  }
}
