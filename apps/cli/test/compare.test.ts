import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { main } from '../src/cli.ts';
import { COMPARE_BYTES } from '../src/compare/measure.ts';
import type { CompareReport } from '../src/compare/report.ts';
import { processEnvironment } from '../src/environment.ts';
import { createConsole } from './console.ts';
import { schemaErrors } from './schema.ts';

const quick = ['--rounds', '1', '--round-trips', '100'];

async function compare(...options: string[]) {
  const console = createConsole({ clock: processEnvironment().clock });
  const code = await main(['compare', ...quick, ...options], console.environment);
  return { code, stdout: console.stdout(), stderr: console.stderr() };
}

async function reportOf(...options: string[]): Promise<CompareReport> {
  const { code, stdout, stderr } = await compare('--json', ...options);
  expect([code, stderr]).toEqual([0, expect.stringContaining('STALE ACCESSES')]);
  const report = JSON.parse(stdout);
  expect(schemaErrors(report)).toEqual([]);
  return report;
}

describe('nvmx compare', { timeout: 120_000 }, () => {
  test('on unmanaged memory: one document on stdout, valid by its schema; host-map is stale, pfncache is not', async () => {
    const { backends, ratios, memory, samples, passed } = await reportOf('--memory', 'unmanaged');
    const { 'host-map': hostMap, pfncache } = backends;
    expect([memory, passed]).toEqual([{ kind: 'unmanaged', file: null }, true]);
    expect(hostMap!.staleAccesses).toBeGreaterThan(0);
    expect(pfncache!.staleAccesses).toBe(0);
    expect([hostMap!.maps - hostMap!.unmaps, hostMap!.invalidations]).toEqual([0, 0]);
    expect(hostMap!.phases.roundTrips.maps).toBeGreaterThanOrEqual(100);
    expect(pfncache!.phases.roundTrips).toMatchObject({ maps: 0, unmaps: 0, refreshes: 0 });
    expect(pfncache!.invalidations).toBeGreaterThan(0);
    expect(hostMap!.storm.staleByRole.map(({ role }) => role)).toEqual(
      expect.arrayContaining(['apic-access', 'virtual-apic', 'pi-desc', 'evmcs']),
    );
    expect(hostMap!.storm.staleByRole.map(({ actor }) => actor)).toEqual(expect.arrayContaining(['L0', 'processor']));
    expect(ratios.pageOperation).toBeGreaterThan(1);
    expect(ratios.roundTripUnmanagedToManaged).toBeGreaterThan(0);
    expect(samples.roundTrip.map(({ backend, memory: kind }) => `${backend} ${kind}`)).toEqual([
      'host-map unmanaged',
      'pfncache unmanaged',
      'pfncache managed',
    ]);
  });

  test('on managed memory: what is pinned does not migrate, and nobody else is harmed', async () => {
    const { backends, memory } = await reportOf('--memory', 'managed');
    const { 'host-map': hostMap, pfncache } = backends;
    expect(memory).toEqual({ kind: 'managed', file: null });
    expect(hostMap!.storm.events.migrateRefused).toBeGreaterThan(0);
    expect(pfncache!.storm.events.migrateRefused).toBe(0);
    expect([hostMap!.storm.corruptedPages, pfncache!.storm.corruptedPages]).toEqual([0, 0]);
    expect(hostMap!.staleAccesses).toBeGreaterThan(0);
  });

  test('on a file, which must be large enough', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'nvmx-compare-'));
    const file = join(folder, 'memory');
    try {
      writeFileSync(file, '');
      truncateSync(file, COMPARE_BYTES - 4096);
      expect((await compare('--memory', file)).code).toBe(2);
      truncateSync(file, COMPARE_BYTES);
      const { memory, passed } = await reportOf('--memory', file);
      expect([memory, passed]).toEqual([{ kind: 'unmanaged', file }, true]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test('without --json: the table on stdout, at most 80 columns wide, and how it goes on stderr', async () => {
    const { code, stdout, stderr } = await compare('--memory', 'managed', '--backend', 'pfncache');
    expect(code).toBe(0);
    expect(stdout).toContain('STALE ACCESSES');
    expect(Math.max(...stdout.split('\n').map((line) => line.length))).toBeLessThanOrEqual(80);
    expect(stderr).toMatch(/^(nvmx: compare: [^\n]+\n)+$/);
  });

  test('one backend alone is judged alone; without pfncache the ratio of two memories is null, with the reason', async () => {
    const { backends, ratios, checks } = await reportOf('--memory', 'managed', '--backend', 'host-map');
    expect(Object.keys(backends)).toEqual(['host-map']);
    expect(ratios.roundTripUnmanagedToManaged).toBeNull();
    expect(ratios.roundTripUnmanagedToManagedMissing).toContain('pfncache');
    expect(checks.every(({ name }) => name.startsWith('host-map'))).toBe(true);
  });
});
