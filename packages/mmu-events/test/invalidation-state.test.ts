import type { Gfn } from '@nvmx/guest-memory';
import { describe, expect, test } from 'vitest';
import { InvalidationState } from '../src/index.ts';

function begun(...ranges: readonly (readonly [number, number])[]): InvalidationState {
  const state = new InvalidationState();
  for (const [start, end] of ranges) {
    state.begin();
    state.addRange(start as Gfn, end as Gfn);
  }
  return state;
}

function retries(state: InvalidationState, sequence: number, gfns: readonly number[]): boolean[] {
  return gfns.map((gfn) => state.retry({ sequence, gfn: gfn as Gfn }));
}

describe('the retry rule', () => {
  test('at rest a frame with the present sequence stands, any other sequence is retried', () => {
    const state = new InvalidationState();
    expect(retries(state, 0, [0, 2 ** 40 - 1])).toEqual([false, false]);
    expect(retries(state, 1, [0])).toEqual([true]);
  });

  test('in progress: retried from the first frame of the range to the last, and not outside', () => {
    expect(retries(begun([16, 18]), 0, [15, 16, 17, 18])).toEqual([false, true, true, false]);
  });

  test('the range is the union of all that are in progress, holes included', () => {
    const state = begun([16, 17], [20, 21]);
    expect(retries(state, 0, [15, 16, 18, 20, 21])).toEqual([false, true, true, true, false]);
    expect(state.range).toEqual({ start: 16, end: 21 });
  });

  test('the union stays until the last one ends, and a new one starts afresh', () => {
    const state = begun([16, 17], [20, 21]);
    state.stepSequence();
    state.end();
    expect(state.range).toEqual({ start: 16, end: 21 });
    expect(retries(state, 1, [18])).toEqual([true]);
    state.stepSequence();
    state.end();
    expect(state.range).toBeUndefined();
    state.begin();
    state.addRange(100 as Gfn, 101 as Gfn);
    expect(state.range).toEqual({ start: 100, end: 101 });
    expect(retries(state, 2, [16, 100])).toEqual([false, true]);
  });

  test('a range that is not known yet is every range', () => {
    const state = new InvalidationState();
    state.begin();
    expect(retries(state, 0, [0, 2 ** 40 - 1])).toEqual([true, true]);
    expect(state.range).toBeUndefined();
  });

  test('after an invalidation ended, an older sequence is retried at every frame', () => {
    const state = begun([16, 17]);
    state.stepSequence();
    state.end();
    expect(retries(state, 0, [16, 999])).toEqual([true, true]);
    expect(retries(state, 1, [16, 999])).toEqual([false, false]);
  });
});

describe('counters never lie: each impossible transition is asserted', () => {
  test('an end without a start', () => {
    expect(() => new InvalidationState().end()).toThrow('below 0');
  });

  test('an active count below 0', () => {
    const state = new InvalidationState();
    state.raiseActiveCount();
    state.lowerActiveCount();
    expect(() => state.lowerActiveCount()).toThrow('more ends than starts');
  });

  test('a range outside of an invalidation, and an empty one', () => {
    expect(() => new InvalidationState().addRange(0 as Gfn, 1 as Gfn)).toThrow('outside of an invalidation');
    const state = new InvalidationState();
    state.begin();
    expect(() => state.addRange(1 as Gfn, 1 as Gfn)).toThrow('an empty one');
  });

  test('the sequence passes 2^31 and 2^32 without wrapping (MS-09), and may not pass 2^53', () => {
    const jumps = [2 ** 31 - 1, 2 ** 32 - 1, 2 ** 53 - 2];
    class Late extends InvalidationState {
      protected override nextSequence(): number {
        return super.nextSequence(jumps.shift() ?? this.sequence);
      }
    }
    const state = new Late();
    for (const expected of [2 ** 31, 2 ** 32, 2 ** 53 - 1]) {
      const { sequence } = state;
      state.stepSequence();
      expect(state.sequence).toBe(expected);
      expect(retries(state, sequence, [0])).toEqual([true]);
      expect(retries(state, expected, [0])).toEqual([false]);
    }
    expect(() => state.stepSequence()).toThrow('never wrap');
  });
});
