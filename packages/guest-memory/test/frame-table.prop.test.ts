import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FrameTable, type FrameZone, type Pfn } from '../src/index.ts';

const KERNEL = 3;
const GUEST = 4;

/** The table as a person would write it down: each live frame with its references, pins and birth. */
interface ModelFrame {
  references: number;
  pins: number;
  birth: number;
}

type Step = { readonly do: 'allocate' | 'get' | 'put' | 'pin' | 'unpin'; readonly pick: number };

const steps = fc.array(
  fc.record<Step>({ do: fc.constantFrom('allocate', 'get', 'put', 'pin', 'unpin'), pick: fc.nat(1000) }),
  { maxLength: 120 },
);

test('any run of operations agrees with the model, on counts, births, refusals and reuse', () => {
  fc.assert(
    fc.property(steps, fc.boolean(), (program, pinnable) => {
      const u8 = new Uint8Array((KERNEL + GUEST) * 4096);
      const frames = new FrameTable({ u8, kernelFrames: KERNEL, guestFrames: GUEST, pinnable });
      const live = new Map<Pfn, ModelFrame>();
      const lastFreed: Record<FrameZone, Pfn[]> = { kernel: [], guest: [] };
      const births = new Set<number>();
      for (const step of program) {
        if (step.do === 'allocate') allocate(step.pick % 2 === 0 ? 'kernel' : 'guest');
        else if (live.size > 0) change(step.do, [...live.keys()][step.pick % live.size]!);
        for (const [pfn, { references, pins, birth }] of live) {
          expect([frames.references(pfn), frames.pinned(pfn), frames.birth(pfn)]).toEqual([
            references,
            pins > 0,
            birth,
          ]);
        }
        expect(frames.liveCount()).toBe(live.size);
      }

      function allocate(zone: FrameZone): void {
        if (frames.freeCount(zone) === 0) {
          expect(() => frames.allocate(zone)).toThrow('are in use');
          return;
        }
        const pfn = frames.allocate(zone);
        const expected = lastFreed[zone].pop();
        if (expected !== undefined) expect(pfn).toBe(expected);
        expect(live.has(pfn)).toBe(false);
        expect(births.has(frames.birth(pfn))).toBe(false);
        births.add(frames.birth(pfn));
        live.set(pfn, { references: 1, pins: 0, birth: frames.birth(pfn) });
        expect(u8.subarray(pfn * 4096, (pfn + 1) * 4096).some((byte) => byte !== 0)).toBe(false);
        u8[pfn * 4096 + 100] = 1;
      }

      function change(operation: 'get' | 'put' | 'pin' | 'unpin', pfn: Pfn): void {
        const frame = live.get(pfn)!;
        const allowed =
          (operation !== 'put' || frame.references > frame.pins) && (operation !== 'unpin' || frame.pins > 0);
        if (!allowed) {
          expect(() => frames[operation](pfn)).toThrow('frames: ');
          return;
        }
        const pinned = frames[operation](pfn);
        if (operation === 'pin' && pinned !== true) expect(pinnable && frames.zone(pfn) === 'guest').toBe(false);
        else if (operation === 'get' || operation === 'pin') frame.references++;
        else frame.references--;
        if (operation === 'pin' && pinned === true) frame.pins++;
        if (operation === 'unpin') frame.pins--;
        if (frame.references > 0) return;
        live.delete(pfn);
        lastFreed[frames.zone(pfn)].push(pfn);
        expect(u8[pfn * 4096 + 100]).toBe(0xcc);
      }
    }),
    { seed: 20_251_122, numRuns: 300 },
  );
});
