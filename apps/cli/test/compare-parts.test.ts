import { describe, expect, test } from 'vitest';
import { guestFigures, stormFigures } from '../src/compare/compare-guest.ts';
import { count, digits, duration } from '../src/compare/format.ts';
import { PhaseWatch } from '../src/compare/phase-watch.ts';
import { SeededRandom } from '../src/compare/random.ts';
import { median, sum } from '../src/compare/statistics.ts';

const none = { maps: 0, unmaps: 0, checks: 0, refreshes: 0, invalidations: 0 };

describe('figures for people', () => {
  test.each([
    [0, '0'],
    [999, '999'],
    [1000, '1,000'],
    [1234567, '1,234,567'],
  ])('the count %d is %s', (value, text) => expect(count(value)).toBe(text));

  test.each([
    [1.021, '1.02'],
    [9.99, '9.99'],
    [9.996, '10.0'],
    [99.96, '100'],
    [1260.4, '1,260'],
  ])('the ratio %d is %s', (value, text) => expect(digits(value)).toBe(text));

  test.each([
    [5.4, '5.40 ns'],
    [999.4, '999 ns'],
    [999.6, '1.00 us'],
    [61_234, '61.2 us'],
    [999_499, '999 us'],
    [2_500_000, '2.50 ms'],
  ])('%d ns is %s', (nanoseconds, text) => expect(duration(nanoseconds)).toBe(text));
});

describe('median', () => {
  test('is the middle sample, whatever their order', () => expect(median([9, 1, 5])).toBe(5));
  test('is the mean of the middle two of an even number', () => expect(median([8, 1, 2, 4])).toBe(3));
  test('of one sample is that sample', () => expect(median([7])).toBe(7));
  test('of none throws', () => expect(() => median([])).toThrow(RangeError));
  test('leaves the samples in their order', () => {
    const samples = [3, 1, 2];
    median(samples);
    expect(samples).toEqual([3, 1, 2]);
  });
});

test('counters add up name by name', () => {
  expect(sum({ ...none, maps: 1 }, { ...none, maps: 2, checks: 5 })).toEqual({ ...none, maps: 3, checks: 5 });
});

describe('the seeded sequence', () => {
  const first = (seed: number) =>
    Array.from(
      { length: 500 },
      (
        (random) => () =>
          random.below(7)
      )(new SeededRandom(seed)),
    );
  test('is the same for the same seed', () => expect(first(1)).toEqual(first(1)));
  test('is another one for another seed', () => expect(first(1)).not.toEqual(first(2)));
  test('has every number below the end, and no other', () => {
    expect([...new Set(first(3))].sort()).toEqual([0, 1, 2, 3, 4, 5, 6]);
  });
});

describe('a phase', () => {
  const at = (milliseconds: number, maps: number) => ({ milliseconds, statistics: { ...none, maps } });

  test('runs from its first marker to its last, and has the difference of both', () => {
    const phase = new PhaseWatch({ begin: 1, end: 2 });
    expect(phase.isRunning).toBe(false);
    phase.mark(1, at(10, 3));
    expect(phase.isRunning).toBe(true);
    phase.mark(2, at(25, 7));
    expect([phase.isRunning, phase.milliseconds, phase.counters]).toEqual([false, 15, { ...none, maps: 4 }]);
  });

  test('passes over the markers of others', () => {
    const phase = new PhaseWatch({ begin: 3, end: 4 });
    phase.mark(1, at(10, 3));
    expect(phase.isRunning).toBe(false);
  });

  test('keeps what it saw, though the counters go on', () => {
    const statistics = { ...none };
    const phase = new PhaseWatch({ begin: 1, end: 2 });
    phase.mark(1, { milliseconds: 0, statistics });
    statistics.maps = 5;
    phase.mark(2, { milliseconds: 0, statistics });
    statistics.maps = 9;
    expect(phase.counters.maps).toBe(5);
  });

  test('that did not end has no figures', () => {
    const phase = new PhaseWatch({ begin: 1, end: 2 });
    phase.mark(1, at(10, 3));
    expect(() => phase.milliseconds).toThrow('did not pass the markers 1 and 2');
    expect(() => phase.counters).toThrow('did not pass the markers 1 and 2');
  });
});

describe('figures of the guest', () => {
  test('come under their names, and are 0 when they were not reported', () => {
    const figures = guestFigures(new Map([[0x13, 4]]));
    expect([figures.vtprMismatches, figures.lost]).toEqual([4, 0]);
  });

  test('have one index each, in the order of the report port', () => {
    expect(stormFigures.map(({ index }) => index)).toEqual(stormFigures.map((_, position) => 0x10 + position));
  });
});
