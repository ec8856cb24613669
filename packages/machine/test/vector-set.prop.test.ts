import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VectorSet } from '../src/vector-set.ts';

const vector = fc.integer({ min: 0, max: 255 });

describe('VectorSet', () => {
  it('agrees with a set of numbers after any additions and removals', () => {
    const step = fc.record({ vector, add: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const set = new VectorSet();
        const model = new Set<number>();
        for (const { vector, add } of steps) {
          if (add) set.add(vector);
          else set.remove(vector);
          if (add) model.add(vector);
          else model.delete(vector);
          expect(set.highest()).toBe(Math.max(-1, ...model));
          expect(set.has(vector)).toBe(add);
        }
        for (let each = 0; each < 256; each += 1) expect(set.has(each)).toBe(model.has(each));
      }),
      { seed: 0x6e766d78 },
    );
  });
});
