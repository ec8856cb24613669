import { describe, expect, test } from 'vitest';
import { AssertionError, DeadlockError, drive, type Op, point, Srcu } from '../src/index.ts';
import { everySchedule } from './schedules.ts';

const inside = point('inside');

describe('Srcu', () => {
  test('sections nest and overlap; each has a token of its own', () => {
    const srcu = new Srcu('s');
    const tokens = [srcu.enter(), srcu.enter(), srcu.enter()];
    expect(new Set(tokens).size).toBe(3);
    expect(srcu.readers).toBe(3);
    srcu.exit(tokens[1]!);
    srcu.exit(tokens[0]!);
    srcu.exit(tokens[2]!);
    expect(srcu.readers).toBe(0);
  });

  test('synchronize() with nobody inside yields once', () => {
    const op = new Srcu('s').synchronize();
    expect(op.next()).toMatchObject({ done: false, value: { name: 'synchronize s', kind: 'wait' } });
    expect(op.next().done).toBe(true);
  });

  test('synchronize() inside a section with nobody else is a deadlock', () => {
    const srcu = new Srcu('s');
    srcu.enter();
    expect(() => drive(srcu.synchronize())).toThrow(DeadlockError);
  });

  test('synchronize() waits for the sections before it and for no later one', () => {
    const srcu = new Srcu('s');
    const before = srcu.enter();
    const op = srcu.synchronize();
    const point = op.next().value!;
    const after = srcu.enter();
    expect(point.ready!()).toBe(false);
    expect(op.next().done).toBe(false);
    srcu.exit(before);
    expect(point.ready!()).toBe(true);
    expect(op.next().done).toBe(true);
    srcu.exit(after);
  });

  test('two synchronizers wait each for its own sections', () => {
    const srcu = new Srcu('s');
    const first = srcu.enter();
    const one = srcu.synchronize();
    const waitsForFirst = one.next().value!;
    const second = srcu.enter();
    const two = srcu.synchronize();
    const waitsForBoth = two.next().value!;
    srcu.exit(first);
    expect([waitsForFirst.ready!(), waitsForBoth.ready!()]).toEqual([true, false]);
    expect(one.next().done).toBe(true);
    srcu.exit(second);
    expect(two.next().done).toBe(true);
  });

  test('a synchronizer that is closed leaves the next one whole', () => {
    const srcu = new Srcu('s');
    const token = srcu.enter();
    const abandoned = srcu.synchronize();
    abandoned.next();
    abandoned.return();
    expect(() => drive(srcu.synchronize())).toThrow(DeadlockError);
    srcu.exit(token);
    drive(srcu.synchronize());
  });

  test('a section ends once, and only if it began', () => {
    const srcu = new Srcu('s');
    expect(() => srcu.exit(1)).toThrow(AssertionError);
    const token = srcu.enter();
    srcu.exit(token);
    expect(() => srcu.exit(token)).toThrow(`srcu s: exit(${token}), but that section is not open`);
  });

  test('a reader never sees what was freed after synchronize(), in any schedule', () => {
    const { deadlocks } = everySchedule(() => {
      const srcu = new Srcu('s');
      const old = { freed: false };
      let published = old;
      const reader = function* (): Op<void> {
        const token = srcu.enter();
        const seen = published;
        yield inside;
        expect(seen.freed).toBe(false);
        srcu.exit(token);
      };
      const updater = function* (): Op<void> {
        published = { freed: false };
        yield* srcu.synchronize();
        old.freed = true;
      };
      return { ops: [reader(), reader(), updater()] };
    });
    expect(deadlocks).toEqual([]);
  });

  test('without synchronize() a reader does see it in some schedule', () => {
    let seenFreed = false;
    everySchedule(() => {
      const old = { freed: false };
      let published = old;
      const reader = function* (): Op<void> {
        const seen = published;
        yield inside;
        seenFreed ||= seen.freed;
      };
      const updater = function* (): Op<void> {
        published = { freed: false };
        yield inside;
        old.freed = true;
      };
      return { ops: [reader(), updater()] };
    });
    expect(seenFreed).toBe(true);
  });
});
