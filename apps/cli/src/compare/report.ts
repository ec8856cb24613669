import type { BackendName } from '../backends.ts';
import type { GuestFigures } from './compare-guest.ts';
import type { EventCounts } from './host-events.ts';
import type { StaleCount, StaleExample } from './stale-summary.ts';
import type { Counters } from './statistics.ts';
import type { Check } from './verdict.ts';

/** The version of the document's shape. Grows when a reader of the former shape would be misled. */
export const SCHEMA_VERSION = 1;

/** What `nvmx compare --json` prints. Its JSON schema is published as `@nvmx/cli/schema/compare.schema.json`. */
export interface CompareReport {
  readonly schemaVersion: typeof SCHEMA_VERSION;
  readonly versions: { readonly nvmx: string; readonly node: string; readonly v8: string };
  readonly machine: MachineInfo;
  readonly guest: {
    readonly image: string;
    readonly sha256: string;
    /** Checks of the pages that the guest made and passed at each boot. */
    readonly checksPassed: number;
  };
  readonly memory: { readonly kind: 'managed' | 'unmanaged'; readonly file: string | null };
  readonly measurement: Measurement;
  readonly backends: { readonly [name in BackendName]?: BackendReport };
  readonly ratios: {
    /** What a mapped read costs, in checked reads. */
    readonly pageOperation: number;
    /** pfncache: a round trip on unmanaged memory over the same on managed memory. */
    readonly roundTripUnmanagedToManaged: number | null;
    /** Why that ratio is null; null when it is not. */
    readonly roundTripUnmanagedToManagedMissing: string | null;
  };
  readonly samples: {
    readonly roundTrip: readonly RoundTripSamples[];
    readonly pageOperation: { readonly mapNs: readonly number[]; readonly checkNs: readonly number[] };
  };
  readonly checks: readonly Check[];
  readonly passed: boolean;
}

/** Where it was measured. */
export interface MachineInfo {
  readonly platform: string;
  readonly arch: string;
  readonly kernel: string;
  readonly cpu: string;
  readonly cpuCount: number;
  readonly memoryBytes: number;
}

/** How much was measured. */
export interface Measurement {
  readonly rounds: number;
  readonly warmUpRounds: number;
  /** Nested round trips in each round. */
  readonly roundTrips: number;
  readonly stormIterations: number;
  readonly seed: number;
  /** Pages of the page operation. */
  readonly pages: number;
}

/** One backend. Its own counters are those of the measured phases together: `phases` has them one by one. */
export interface BackendReport extends Counters {
  /** Median over the rounds. */
  readonly roundTripNs: number;
  readonly staleAccesses: number;
  readonly phases: {
    /** One round of round trips. */
    readonly roundTrips: Counters;
    readonly storm: Counters;
  };
  readonly storm: {
    readonly events: Readonly<EventCounts>;
    /** Accesses that were compared with the frame that backed the page at that moment. */
    readonly watchedAccesses: { readonly L0: number; readonly processor: number };
    readonly staleByRole: readonly StaleCount[];
    readonly examples: readonly StaleExample[];
    /** Frames that were written after the host had given them to somebody else. */
    readonly corruptedPages: number;
    /** What the guest counted itself. */
    readonly guest: GuestFigures;
  };
}

/** Round trips of one backend on one kind of memory, one sample a round. */
export interface RoundTripSamples {
  readonly backend: BackendName;
  readonly memory: 'managed' | 'unmanaged';
  readonly nanoseconds: readonly number[];
}
