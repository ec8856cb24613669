import fc from 'fast-check';
import { expect, test } from 'vitest';
import { hpa, type Mapping, type Pfn } from '../src/index.ts';
import { kinds, withMemory } from './kinds.ts';

const KERNEL = 2;
const GUEST = 4;
const PAGE = 4096;

type Step =
  | { readonly do: 'map'; readonly pfn: number }
  | { readonly do: 'unmap'; readonly pick: number }
  | { readonly do: 'store'; readonly pick: number; readonly offset: number; readonly value: number }
  | { readonly do: 'write'; readonly at: number; readonly bytes: Uint8Array }
  | { readonly do: 'physical'; readonly at: number; readonly value: number };

const pfn = fc.nat(KERNEL + GUEST - 1);
const offset = fc.nat(PAGE / 4 - 1).map((word) => word * 4);
const value = fc.nat(0xffff_ffff);
const address = fc.tuple(pfn, fc.nat(PAGE - 1)).map(([frame, byte]) => frame * PAGE + byte);

const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    fc.record({ do: fc.constant('map' as const), pfn }),
    fc.record({ do: fc.constant('unmap' as const), pick: fc.nat(50) }),
    fc.record({ do: fc.constant('store' as const), pick: fc.nat(50), offset, value }),
    fc.record({ do: fc.constant('write' as const), at: address, bytes: fc.uint8Array({ maxLength: 40 }) }),
    fc.record({ do: fc.constant('physical' as const), at: address, value: fc.nat(255) }),
  ),
  { maxLength: 50 },
);

test.each(kinds)('%s: mappings, copies and the physical view always agree with one flat array', (_kind, create) => {
  fc.assert(
    fc.property(steps, (program) =>
      withMemory(create({ guestFrames: GUEST, kernelFrames: KERNEL }), (memory) => {
        const model = new Uint8Array((KERNEL + GUEST) * PAGE);
        const live: Mapping[] = [];
        for (const step of program) run(step);
        for (const mapping of live) {
          expectSame(mapping.view.bytes(), model.subarray(mapping.pfn * PAGE, (mapping.pfn + 1) * PAGE));
        }
        expectSame(memory.u8.subarray(0, model.length), model);
        for (const [start, end] of [
          [0, KERNEL],
          [KERNEL, KERNEL + GUEST],
        ] as const) {
          const copied = new Uint8Array((end - start) * PAGE);
          memory.read(hpa(start * PAGE), copied);
          expectSame(copied, model.subarray(start * PAGE, end * PAGE));
        }
        expect(memory.liveMappings).toBe(live.length);

        function run(step: Step): void {
          if (step.do === 'map') live.push(memory.map(step.pfn as Pfn));
          else if (step.do === 'physical') {
            memory.u8[step.at] = step.value;
            model[step.at] = step.value;
          } else if (step.do === 'write') {
            const zoneEnd = (step.at < KERNEL * PAGE ? KERNEL : KERNEL + GUEST) * PAGE;
            const bytes = step.bytes.subarray(0, zoneEnd - step.at);
            memory.write(hpa(step.at), bytes);
            model.set(bytes, step.at);
          } else if (live.length > 0) use(step, step.pick % live.length);
        }

        function use(step: Step & { do: 'unmap' | 'store' }, index: number): void {
          const mapping = live[index]!;
          if (step.do === 'store') {
            mapping.view.setU32(step.offset, step.value);
            new DataView(model.buffer).setUint32(mapping.pfn * PAGE + step.offset, step.value, true);
          } else {
            memory.unmap(mapping);
            live.splice(index, 1);
          }
        }
      }),
    ),
    { seed: 20_251_122, numRuns: 100 },
  );
});

/** One comparison, where toEqual() makes one for each byte. */
function expectSame(actual: Uint8Array, expected: Uint8Array): void {
  expect(Buffer.compare(actual, expected)).toBe(0);
}
