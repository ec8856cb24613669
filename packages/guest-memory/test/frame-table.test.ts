import { describe, expect, test } from 'vitest';
import { AssertionError, FrameTable, OperatingError, type Pfn, POISON, pfn } from '../src/index.ts';

const PAGE = 4096;

function table(o: { kernelFrames?: number; guestFrames?: number; pinnable?: boolean } = {}) {
  const { kernelFrames = 3, guestFrames = 4, pinnable = true } = o;
  const u8 = new Uint8Array((kernelFrames + guestFrames) * PAGE);
  return { u8, frames: new FrameTable({ u8, kernelFrames, guestFrames, pinnable }) };
}

function page(u8: Uint8Array, frame: Pfn): Uint8Array {
  return u8.subarray(frame * PAGE, (frame + 1) * PAGE);
}

describe('allocate', () => {
  test('hands out each frame of a zone once, never pfn 0, then ENOMEM', () => {
    const { frames } = table();
    expect([frames.allocate('kernel'), frames.allocate('kernel')]).toEqual([1, 2]);
    expect(() => frames.allocate('kernel')).toThrow(OperatingError);
    expect(() => frames.allocate('kernel')).toThrow('frames: allocate: all 2 kernel frames are in use');
    expect([1, 2, 3, 4].map(() => frames.allocate('guest'))).toEqual([3, 4, 5, 6]);
    expect(() => frames.allocate('guest')).toThrow(
      expect.objectContaining({ code: 'ENOMEM', details: { zone: 'guest', frames: 4 } }),
    );
  });

  test('a zone without frames is used up at once', () => {
    expect(() => table({ kernelFrames: 1 }).frames.allocate('kernel')).toThrow('all 0 kernel frames');
  });

  test('pfn 0 is reserved: a table without kernel frames is refused', () => {
    expect(() => table({ kernelFrames: 0 })).toThrow(AssertionError);
  });

  test('a frame holds zeros, whatever was written to it before, first use included', () => {
    const { u8, frames } = table();
    u8.fill(0xab);
    const frame = frames.allocate('guest');
    expect(page(u8, frame).every((byte) => byte === 0)).toBe(true);
    expect(u8[frame * PAGE - 1]).toBe(0xab);
    expect(u8[(frame + 1) * PAGE]).toBe(0xab);
  });

  test('the frame freed last is handed out first, before any that nobody had', () => {
    const { frames } = table();
    const [a, b] = [frames.allocate('guest'), frames.allocate('guest')];
    frames.put(a);
    frames.put(b);
    expect([1, 2, 3].map(() => frames.allocate('guest'))).toEqual([b, a, 5]);
  });

  test('zones do not mix', () => {
    const { frames } = table();
    frames.put(frames.allocate('kernel'));
    expect(frames.zone(frames.allocate('guest'))).toBe('guest');
    expect(frames.zone(frames.allocate('kernel'))).toBe('kernel');
  });
});

describe('references', () => {
  test('the last put frees the frame and poisons it', () => {
    const { u8, frames } = table();
    const frame = frames.allocate('guest');
    frames.get(frame);
    frames.get(frame);
    for (let left = 2; left >= 1; left--) {
      frames.put(frame);
      expect(frames.references(frame)).toBe(left);
      expect(page(u8, frame)[0]).toBe(0);
    }
    frames.put(frame);
    expect(frames.references(frame)).toBe(0);
    expect(page(u8, frame).every((byte) => byte === POISON)).toBe(true);
    expect([u8[frame * PAGE - 1], u8[(frame + 1) * PAGE]]).toEqual([0, 0]);
  });

  test.each(['get', 'put', 'pin', 'unpin'] as const)(
    '%s of a free, a reserved or a missing frame is refused',
    (operation) => {
      const { frames } = table();
      const freed = frames.allocate('guest');
      frames.put(freed);
      expect(() => frames[operation](freed)).toThrow(`frames: ${operation}: pfn ${freed} is free`);
      expect(() => frames[operation](pfn(0))).toThrow(`frames: ${operation}: pfn 0 is free`);
      for (const missing of [7, -1, 3.5, Number.NaN]) {
        expect(() => frames[operation](missing as Pfn)).toThrow(`frames: ${operation}: pfn ${missing} is not in 0..6`);
      }
    },
  );

  test.each(['references', 'birth', 'pinned', 'zone'] as const)('%s of a missing frame is refused', (operation) => {
    for (const missing of [7, -1, 3.5]) {
      expect(() => table().frames[operation](missing as Pfn)).toThrow(
        `frames: ${operation}: pfn ${missing} is not in 0..6`,
      );
    }
  });
});

describe('birth', () => {
  test('is 0 while the frame is free, and new in each life', () => {
    const { frames } = table();
    const seen = new Set<number>();
    for (let life = 0; life < 5; life++) {
      const frame = frames.allocate('guest');
      expect(frames.birth(frame)).toBeGreaterThan(0);
      seen.add(frames.birth(frame));
      frames.get(frame);
      frames.put(frame);
      expect(seen.has(frames.birth(frame))).toBe(true);
      frames.put(frame);
      expect(frames.birth(frame)).toBe(0);
    }
    expect(seen.size).toBe(5);
  });

  test('the reserved frame was never born', () => {
    expect(table().frames.birth(pfn(0))).toBe(0);
  });
});

describe('pin', () => {
  test('keeps a frame alive after its last mapping is gone, until unpin', () => {
    const { u8, frames } = table();
    const frame = frames.allocate('guest');
    expect(frames.pin(frame)).toBe(true);
    expect([frames.pinned(frame), frames.references(frame)]).toEqual([true, 2]);
    page(u8, frame)[5] = 7;
    const birth = frames.birth(frame);
    frames.put(frame);
    expect([frames.birth(frame), page(u8, frame)[5]]).toEqual([birth, 7]);
    expect(frames.allocate('guest')).not.toBe(frame);
    frames.unpin(frame);
    expect([frames.birth(frame), frames.pinned(frame)]).toEqual([0, false]);
    expect(frames.allocate('guest')).toBe(frame);
  });

  test('counts: as many unpins as pins', () => {
    const { frames } = table();
    const frame = frames.allocate('guest');
    frames.pin(frame);
    frames.pin(frame);
    frames.unpin(frame);
    expect(frames.pinned(frame)).toBe(true);
    frames.unpin(frame);
    expect([frames.pinned(frame), frames.references(frame)]).toEqual([false, 1]);
    expect(() => frames.unpin(frame)).toThrow(`frames: unpin: pfn ${frame} is not pinned`);
  });

  test("put() never takes a pin's reference", () => {
    const { frames } = table();
    const frame = frames.allocate('guest');
    frames.pin(frame);
    frames.put(frame);
    expect(() => frames.put(frame)).toThrow(`frames: put: pfn ${frame} has no reference left but its pins`);
    expect(frames.pinned(frame)).toBe(true);
  });

  test('a frame without struct page, and a kernel frame, cannot be pinned: nothing is taken', () => {
    const unmanaged = table({ pinnable: false }).frames;
    const guest = unmanaged.allocate('guest');
    expect([unmanaged.pin(guest), unmanaged.pinned(guest), unmanaged.references(guest)]).toEqual([false, false, 1]);
    const { frames } = table();
    const kernel = frames.allocate('kernel');
    expect([frames.pin(kernel), frames.pinned(kernel), frames.references(kernel)]).toEqual([false, false, 1]);
  });
});

describe('counts', () => {
  test('free and live add up to the zone, pfn 0 not counted', () => {
    const { frames } = table();
    expect([frames.freeCount('kernel'), frames.freeCount('guest'), frames.liveCount()]).toEqual([2, 4, 0]);
    const kernel = frames.allocate('kernel');
    frames.allocate('guest');
    frames.allocate('guest');
    expect([frames.liveCount('kernel'), frames.liveCount('guest'), frames.liveCount()]).toEqual([1, 2, 3]);
    frames.put(kernel);
    expect([frames.freeCount('kernel'), frames.freeCount('guest'), frames.liveCount()]).toEqual([2, 2, 2]);
  });
});

describe('reset', () => {
  test('frees all frames, pinned ones too, poisons them, and starts over in order; births go on', () => {
    const { u8, frames } = table();
    const before = [frames.allocate('guest'), frames.allocate('guest'), frames.allocate('kernel')];
    frames.pin(before[0]!);
    frames.put(before[1]!);
    const births = before.map((frame) => frames.birth(frame));
    frames.reset();
    expect(before.map((frame) => [frames.birth(frame), frames.references(frame), frames.pinned(frame)])).toEqual(
      before.map(() => [0, 0, false]),
    );
    expect(before.every((frame) => page(u8, frame).every((byte) => byte === POISON))).toBe(true);
    expect([frames.liveCount(), frames.freeCount('guest'), frames.freeCount('kernel')]).toEqual([0, 4, 2]);
    const after = [frames.allocate('guest'), frames.allocate('guest'), frames.allocate('kernel')];
    expect(after).toEqual([3, 4, 1]);
    expect(page(u8, after[0]!).every((byte) => byte === 0)).toBe(true);
    expect(Math.min(...after.map((frame) => frames.birth(frame)))).toBeGreaterThan(Math.max(...births));
  });
});

describe('close', () => {
  test('every later use is refused', () => {
    const { frames } = table();
    const frame = frames.allocate('guest');
    frames.close();
    for (const use of ['get', 'put', 'pin', 'unpin', 'birth', 'references', 'pinned', 'zone'] as const) {
      expect(() => frames[use](frame)).toThrow(`frames: ${use}: the memory is closed`);
    }
    expect(() => frames.allocate('guest')).toThrow('frames: allocate: the memory is closed');
    expect(() => frames.reset()).toThrow('frames: reset: the memory is closed');
  });
});
