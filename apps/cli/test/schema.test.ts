import { expect, test } from 'vitest';
import { sampleReport } from './sample-report.ts';
import { schemaErrors } from './schema.ts';

const { 'host-map': hostMap, pfncache } = sampleReport().backends;

test('a report is valid by the published schema', () => {
  expect(schemaErrors(sampleReport())).toEqual([]);
});

test('a report on one backend, without the ratio of two memories, is valid', () => {
  const { ratios } = sampleReport();
  const missing = { roundTripUnmanagedToManaged: null, roundTripUnmanagedToManagedMissing: 'no Linux' };
  expect(schemaErrors({ ...sampleReport(), backends: { pfncache }, ratios: { ...ratios, ...missing } })).toEqual([]);
});

test.each([
  ['another schema version', { schemaVersion: 2 }],
  ['no backend', { backends: {} }],
  ['an unknown backend', { backends: { pfncache, other: pfncache } }],
  ['a backend without a figure', { backends: { pfncache: { ...pfncache, staleAccesses: undefined } } }],
  ['a count below 0', { backends: { 'host-map': { ...hostMap, maps: -1 } } }],
  ['a count that is not whole', { backends: { 'host-map': { ...hostMap, unmaps: 0.5 } } }],
  ['a time of 0', { backends: { pfncache: { ...pfncache, roundTripNs: 0 } } }],
  ['a ratio that is no number', { ratios: { ...sampleReport().ratios, pageOperation: null } }],
  ['no samples', { samples: { ...sampleReport().samples, roundTrip: [] } }],
  ['a member that nobody knows', { more: 1 }],
])('a report with %s is not valid', (_case, change) => {
  expect(schemaErrors({ ...sampleReport(), ...change })).not.toEqual([]);
});

test.each(Object.keys(sampleReport()))('a report without %s is not valid', (name) => {
  expect(schemaErrors({ ...sampleReport(), [name]: undefined })).not.toEqual([]);
});
