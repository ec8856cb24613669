import { describe, expect, test } from 'vitest';
import type { CompareReport } from '../src/compare/report.ts';
import { renderTable } from '../src/compare/table.ts';
import { sampleReport } from './sample-report.ts';

const rows = (report: CompareReport) => renderTable(report, { color: false }).split('\n');
const row = (report: CompareReport, label: string) =>
  rows(report)
    .filter((line) => line.trim().startsWith(label))
    .map((line) =>
      line
        .trim()
        .split(/\s{2,}/)
        .slice(1),
    );

describe('the table', () => {
  test('has at most 80 columns', () => {
    expect(Math.max(...rows(sampleReport()).map((line) => line.length))).toBeLessThanOrEqual(80);
  });

  test('puts the backends side by side, in the order of the report', () => {
    expect(row(sampleReport(), 'time of one, median')).toEqual([['61.2 us', '21.5 us']]);
    expect(row(sampleReport(), 'STALE ACCESSES')).toEqual([['12,345', '0']]);
    expect(row(sampleReport(), 'virtual-apic, processor')).toEqual([['12,300', '0']]);
  });

  test('counts each measured phase alone', () => {
    expect(row(sampleReport(), 'maps')).toEqual([
      ['8,000', '8,000'],
      ['123', '123'],
    ]);
  });

  test('shows one backend alone', () => {
    const { pfncache } = sampleReport().backends;
    expect(row({ ...sampleReport(), backends: { pfncache: pfncache! } }, 'STALE ACCESSES')).toEqual([['0']]);
  });

  test('names a refused migration', () => {
    const report = sampleReport();
    const { storm } = report.backends['host-map']!;
    const events = { ...storm.events, migrate: 0, migrateRefused: 7 };
    const hostMap = { ...report.backends['host-map']!, storm: { ...storm, events } };
    expect(row({ ...report, backends: { 'host-map': hostMap } }, 'pages migrated')).toEqual([['0 (7 refused)']]);
  });

  test('names the kinds of wrong results that a guest saw, and no others', () => {
    expect(row(sampleReport(), 'VTPR in L1')).toEqual([['17', '0']]);
    expect(row(sampleReport(), 'posted interrupts lost')).toEqual([]);
  });

  test('says why the ratio of two memories is missing', () => {
    const { ratios } = sampleReport();
    const missing = { roundTripUnmanagedToManaged: null, roundTripUnmanagedToManagedMissing: 'this is darwin' };
    expect(rows({ ...sampleReport(), ratios: { ...ratios, ...missing } }).join('\n')).toContain('this is darwin');
  });

  test('says of a stale access where nothing backed the page', () => {
    expect(rows(sampleReport()).filter((line) => line.includes('is in no frame'))).toHaveLength(1);
  });

  test('says on managed memory what a pin changes, and not on unmanaged memory', () => {
    const managed = { ...sampleReport(), memory: { kind: 'managed', file: null } } as const;
    const samples = {
      ...managed.samples,
      roundTrip: managed.samples.roundTrip.map((one) => ({ ...one, memory: 'managed' as const })),
    };
    expect(rows({ ...managed, samples }).join('\n')).toContain('pins');
    expect(rows(sampleReport()).join('\n')).not.toContain('pins');
  });

  test('has escape sequences only where they are wanted', () => {
    expect(renderTable(sampleReport(), { color: false })).not.toContain('\u001b');
    expect(renderTable(sampleReport(), { color: true })).toContain('\u001b[31mFAIL\u001b[0m');
  });
});
