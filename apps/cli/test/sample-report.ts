import { guestFigures } from '../src/compare/compare-guest.ts';
import type { BackendReport, CompareReport } from '../src/compare/report.ts';
import type { JudgedStorm } from '../src/compare/verdict.ts';

const counters = { maps: 0, unmaps: 0, checks: 0, refreshes: 0, invalidations: 0 };

/** A storm in which everything went as it should under pfncache. */
export function cleanStorm(): JudgedStorm {
  return {
    events: { discard: 5, migrate: 5, migrateRefused: 0, memslotMove: 5, memslotRecreate: 5, notification: 9 },
    accesses: { watched: { L0: 40, processor: 2000 }, unwatched: [], stale: 0, byRole: [], examples: [] },
    corruptedPages: 0,
    guest: guestFigures(new Map([[0x10, 512]])),
  };
}

/** A storm as host-map weathers it. */
export function staleStorm(): JudgedStorm {
  const example = {
    role: 'virtual-apic',
    actor: 'processor',
    gpa: '0x10002080',
    reached: 4711,
    current: 5004,
  } as const;
  return {
    ...cleanStorm(),
    accesses: {
      watched: { L0: 40, processor: 2000 },
      unwatched: [],
      stale: 12_345,
      byRole: [
        { role: 'pi-desc', actor: 'L0', count: 45 },
        { role: 'virtual-apic', actor: 'processor', count: 12_300 },
      ],
      examples: [example, { ...example, role: 'pi-desc', actor: 'L0', current: null }],
    },
    corruptedPages: 3,
    guest: guestFigures(
      new Map([
        [0x10, 512],
        [0x13, 17],
        [0x21, 17],
      ]),
    ),
  };
}

function backend(storm: JudgedStorm, roundTripNs: number): BackendReport {
  return {
    roundTripNs,
    ...counters,
    maps: 8123,
    staleAccesses: storm.accesses.stale,
    phases: { roundTrips: { ...counters, maps: 8000 }, storm: { ...counters, maps: 123 } },
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

/** A report with figures that were not measured. */
export function sampleReport(): CompareReport {
  return {
    schemaVersion: 1,
    versions: { nvmx: '1.2.3', node: '20.20.2', v8: '11.3' },
    machine: { platform: 'linux', arch: 'x64', kernel: '6.18.0', cpu: 'A CPU', cpuCount: 2, memoryBytes: 2 ** 33 },
    guest: { image: 'compare.elf', sha256: '0'.repeat(64), checksPassed: 93 },
    memory: { kind: 'unmanaged', file: null },
    measurement: { rounds: 2, warmUpRounds: 1, roundTrips: 2000, stormIterations: 512, seed: 1, pages: 64 },
    backends: { 'host-map': backend(staleStorm(), 61_234), pfncache: backend(cleanStorm(), 21_456) },
    ratios: { pageOperation: 1260.4, roundTripUnmanagedToManaged: 1.02, roundTripUnmanagedToManagedMissing: null },
    samples: {
      roundTrip: [
        { backend: 'host-map', memory: 'unmanaged', nanoseconds: [61_000, 61_468] },
        { backend: 'pfncache', memory: 'unmanaged', nanoseconds: [21_400, 21_512] },
        { backend: 'pfncache', memory: 'managed', nanoseconds: [21_000, 21_100] },
      ],
      pageOperation: { mapNs: [9000, 9100], checkNs: [7.1, 7.2] },
    },
    checks: [
      { name: 'good', passed: true, text: 'something good' },
      { name: 'bad', passed: false, text: 'something bad' },
    ],
    passed: false,
  };
}
