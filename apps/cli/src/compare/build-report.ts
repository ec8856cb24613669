import { version } from '../version.ts';
import { machineInfo } from './machine-info.ts';
import type { Contender, Measured, MeasurePlan } from './measure.ts';
import { type BackendReport, type CompareReport, type RoundTripSamples, SCHEMA_VERSION } from './report.ts';
import { median, sum } from './statistics.ts';
import type { StormResult } from './storm.ts';
import { judge } from './verdict.ts';

/** Puts what was measured into the shape that is published, and judges it. */
export function buildReport(plan: MeasurePlan, measured: Measured): CompareReport {
  const checks = judge(measured.storms);
  const { other, pageOperation } = measured;
  const contenders = 'missing' in other ? measured.contenders : [...measured.contenders, other];
  return {
    schemaVersion: SCHEMA_VERSION,
    versions: { nvmx: version(), node: process.versions.node, v8: process.versions.v8 },
    machine: machineInfo(),
    guest: {
      image: 'compare.elf',
      sha256: measured.imageSha256,
      checksPassed: Math.min(...contenders.flatMap(({ samples }) => samples.map((one) => one.checksPassed))),
    },
    memory: { kind: plan.memory.kind, file: plan.memory.kind === 'unmanaged' ? (plan.memory.file ?? null) : null },
    measurement: {
      rounds: plan.rounds,
      warmUpRounds: plan.warmUpRounds,
      roundTrips: plan.roundTrips,
      stormIterations: plan.stormIterations,
      seed: plan.seed,
      pages: pageOperation.pages,
    },
    backends: Object.fromEntries(
      measured.contenders.map((one) => [one.backend, backendReport(one, measured.storms.get(one.backend)!)]),
    ),
    ratios: { pageOperation: pageOperation.ratio, ...memoryRatio(measured) },
    samples: {
      roundTrip: contenders.map(roundTripSamples),
      pageOperation: { mapNs: pageOperation.mapSamplesNs, checkNs: pageOperation.checkSamplesNs },
    },
    checks,
    passed: checks.every(({ passed }) => passed),
  };
}

function backendReport({ samples }: Contender, storm: StormResult): BackendReport {
  const roundTrips = samples.at(-1)!.counters;
  return {
    roundTripNs: median(samples.map(({ nanoseconds }) => nanoseconds)),
    ...sum(roundTrips, storm.counters),
    staleAccesses: storm.accesses.stale,
    phases: { roundTrips, storm: storm.counters },
    storm: {
      events: storm.events,
      watchedAccesses: storm.accesses.watched,
      staleByRole: storm.accesses.byRole,
      examples: storm.accesses.examples,
      corruptedPages: storm.corruptedPages,
      guest: storm.guest,
    },
  };
}

/** Of each round one ratio, since its two samples are neighbors in time; then the median. */
function memoryRatio({
  contenders,
  other,
}: Measured): Pick<CompareReport['ratios'], 'roundTripUnmanagedToManaged' | 'roundTripUnmanagedToManagedMissing'> {
  const chosen = contenders.find(({ backend }) => backend === 'pfncache');
  if ('missing' in other || chosen === undefined) {
    const missing = 'missing' in other ? other.missing : 'pfncache was not measured';
    return { roundTripUnmanagedToManaged: null, roundTripUnmanagedToManagedMissing: missing };
  }
  const [unmanaged, managed] = chosen.memory.kind === 'unmanaged' ? [chosen, other] : [other, chosen];
  const ratios = unmanaged.samples.map((one, round) => one.nanoseconds / managed.samples[round]!.nanoseconds);
  return { roundTripUnmanagedToManaged: median(ratios), roundTripUnmanagedToManagedMissing: null };
}

function roundTripSamples({ backend, memory, samples }: Contender): RoundTripSamples {
  return { backend, memory: memory.kind, nanoseconds: samples.map(({ nanoseconds }) => nanoseconds) };
}
