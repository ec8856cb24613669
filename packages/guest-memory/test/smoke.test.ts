import { expect, test } from 'vitest';
import { pfnToHpa } from '../src/index.ts';
import { createUnmanagedMemory } from '../src/linux.ts';

test('smoke', () => {
  const m = createUnmanagedMemory({ guestFrames: 16, kernelFrames: 4 });
  const p = m.frames.allocate('guest');
  m.u8[pfnToHpa(p) + 5] = 7;
  const a = m.map(p);
  expect(a.view.u8(5)).toBe(7);
  a.view.setU32(8, 0x12345678);
  expect(m.u32[(pfnToHpa(p) + 8) / 4]).toBe(0x12345678);
  const t = new Uint8Array(12);
  m.read(pfnToHpa(p), t);
  expect(t[5]).toBe(7);
  m.unmap(a);
  expect(a.view.u8(5)).toBe(0);
  m.close();
});
