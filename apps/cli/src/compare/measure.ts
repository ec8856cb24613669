import { createHash } from 'node:crypto';
import type { HostMemory } from '@nvmx/guest-memory';
import { type BackendName, backendFactory } from '../backends.ts';
import { UsageError } from '../errors.ts';
import { createMemory, type MemoryChoice } from '../memory-choice.ts';
import { measurePageOperation, PAGE_OPERATION_BYTES, type PageOperation } from './page-operation.ts';
import { measureRoundTrips, type RoundTripSample } from './round-trips.ts';
import { runStorm, STORM_BYTES, type StormResult } from './storm.ts';

/** What to measure, and how much of it. */
export interface MeasurePlan {
  readonly memory: MemoryChoice;
  readonly backends: readonly BackendName[];
  readonly rounds: number;
  readonly warmUpRounds: number;
  readonly roundTrips: number;
  readonly stormIterations: number;
  readonly seed: number;
  readonly image: Uint8Array;
  readonly clock: () => number;
  /** Hears what goes on, in a few words. */
  readonly progress: (line: string) => void;
}

/** Round trips of one backend on one memory. */
export interface Contender {
  readonly backend: BackendName;
  readonly memory: HostMemory;
  /** One a round. */
  readonly samples: RoundTripSample[];
}

/** Everything that was measured, not judged yet. */
export interface Measured {
  /** On the chosen memory, in the order of the plan. */
  readonly contenders: readonly Contender[];
  /** pfncache on the other kind of memory, or why not. */
  readonly other: Contender | { readonly missing: string };
  readonly storms: ReadonlyMap<BackendName, StormResult>;
  readonly pageOperation: PageOperation;
  readonly imageSha256: string;
}

/** Memory that every measurement finds enough of. */
export const COMPARE_BYTES = Math.max(STORM_BYTES, PAGE_OPERATION_BYTES);

/**
 * Measures on one memory after the other, each made once and reset for each boot.
 *
 * Throws UsageError when the host cannot give the chosen memory, GuestFailure when the guest fails a check of its own.
 */
export function measure(plan: MeasurePlan): Measured {
  const memory = createMemory(plan.memory, { guestBytes: COMPARE_BYTES });
  const other = otherMemory(plan);
  try {
    const contenders = plan.backends.map((backend): Contender => ({ backend, memory, samples: [] }));
    const against: Measured['other'] = 'missing' in other ? other : { backend: 'pfncache', memory: other, samples: [] };
    runRounds(plan, 'missing' in against ? contenders : [...contenders, against]);
    plan.progress('page operations');
    memory.reset();
    const pageOperation = measurePageOperation({ memory, clock: plan.clock });
    return {
      contenders,
      other: against,
      storms: new Map(plan.backends.map((backend) => [backend, storm(plan, backend, memory)])),
      pageOperation,
      imageSha256: createHash('sha256').update(plan.image).digest('hex'),
    };
  } finally {
    memory.close();
    if (!('missing' in other)) other.close();
  }
}

/** The kind of memory that was not chosen, for the ratio between the two. */
function otherMemory({ memory, backends }: MeasurePlan): HostMemory | { readonly missing: string } {
  if (!backends.includes('pfncache')) return { missing: 'pfncache is not among the backends' };
  const kind = memory.kind === 'managed' ? 'unmanaged' : 'managed';
  try {
    return createMemory({ kind }, { guestBytes: COMPARE_BYTES });
  } catch (error) {
    if (error instanceof UsageError) return { missing: error.message };
    throw error;
  }
}

/** Contenders alternate within each round, and another one begins each time: drift of the machine hits all alike. */
function runRounds(plan: MeasurePlan, contenders: readonly Contender[]): void {
  for (let round = -plan.warmUpRounds; round < plan.rounds; round++) {
    plan.progress(round < 0 ? 'warm-up' : `round ${round + 1} of ${plan.rounds}`);
    for (let turn = 0; turn < contenders.length; turn++) {
      const contender = contenders[(turn + round + plan.warmUpRounds) % contenders.length]!;
      contender.memory.reset();
      const sample = measureRoundTrips({
        ...plan,
        memory: contender.memory,
        createBackend: backendFactory(contender.backend),
      });
      if (round >= 0) contender.samples.push(sample);
    }
  }
}

function storm(plan: MeasurePlan, backend: BackendName, memory: HostMemory): StormResult {
  plan.progress(`${backend}: storm of host events`);
  memory.reset();
  return runStorm({ ...plan, iterations: plan.stormIterations, createBackend: backendFactory(backend), memory });
}
