import { describe, expect, test } from 'vitest';
import type { BackendName } from '../src/backends.ts';
import { guestFigures } from '../src/compare/compare-guest.ts';
import { type JudgedStorm, judge } from '../src/compare/verdict.ts';
import { cleanStorm, staleStorm } from './sample-report.ts';

const failed = (storms: Partial<Record<BackendName, JudgedStorm>>) =>
  judge(new Map(Object.entries(storms) as [BackendName, JudgedStorm][]))
    .filter(({ passed }) => !passed)
    .map(({ name }) => name);

const one = { watched: { L0: 40, processor: 2000 }, unwatched: [], stale: 1, byRole: [], examples: [] };
const wrong = guestFigures(new Map([[0x21, 1]]));

describe('the verdict on a pair of storms', () => {
  test('passes when host-map shows stale accesses and pfncache none', () => {
    expect(failed({ 'host-map': staleStorm(), pfncache: cleanStorm() })).toEqual([]);
  });

  test('passes when host-map shows just one', () => {
    expect(failed({ 'host-map': { ...cleanStorm(), accesses: one } })).toEqual([]);
  });

  test('fails when host-map shows none: the storm proves nothing then', () => {
    expect(failed({ 'host-map': cleanStorm(), pfncache: cleanStorm() })).toEqual(['host-map-shows-stale-accesses']);
  });

  test('fails when pfncache shows just one', () => {
    expect(failed({ pfncache: { ...cleanStorm(), accesses: one } })).toEqual(['pfncache-shows-no-stale-access']);
  });

  test('fails when pfncache wrote to a frame of somebody else', () => {
    expect(failed({ pfncache: { ...cleanStorm(), corruptedPages: 1 } })).toEqual([
      'pfncache-overwrites-no-frame-of-others',
    ]);
  });

  test('fails when the guest saw a wrong result under pfncache', () => {
    expect(failed({ pfncache: { ...cleanStorm(), guest: wrong } })).toEqual(['pfncache-guest-sees-no-wrong-result']);
  });

  test('does not fail for what the guest saw under host-map', () => {
    expect(failed({ 'host-map': { ...staleStorm(), guest: wrong } })).toEqual([]);
  });
});

describe('a storm that did not happen is no proof', () => {
  const calm = (change: Partial<JudgedStorm['events']>) => ({
    ...cleanStorm(),
    events: { ...cleanStorm().events, ...change },
  });

  test.each(['discard', 'migrate', 'memslotMove', 'memslotRecreate', 'notification'])('no %s at all fails', (kind) => {
    expect(failed({ pfncache: calm({ [kind]: 0 }) })).toEqual(['pfncache-storm-happened']);
  });

  test('a migration that a pin refused was tried, and that will do', () => {
    expect(failed({ pfncache: calm({ migrate: 0, migrateRefused: 5 }) })).toEqual([]);
  });

  test.each([
    ['L0', { L0: 0, processor: 9 }],
    ['the processor', { L0: 9, processor: 0 }],
  ])('no access of %s that was watched fails', (_actor, watched) => {
    const storm = { ...cleanStorm(), accesses: { watched, unwatched: [], stale: 0, byRole: [], examples: [] } };
    expect(failed({ pfncache: storm })).toEqual(['pfncache-storm-happened']);
  });

  test('a page that nobody reached in the storm fails', () => {
    const accesses = { ...one, stale: 0, unwatched: ['pi-desc, L0'] };
    const checks = judge(new Map([['pfncache', { ...cleanStorm(), accesses }]]));
    expect(checks.find(({ name }) => name === 'pfncache-storm-happened')).toMatchObject({
      passed: false,
      text: expect.stringContaining('none of pi-desc, L0'),
    });
  });
});
