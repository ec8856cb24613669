import fc from 'fast-check';
import { expect, test } from 'vitest';
import { AssertionError, PageView } from '../src/index.ts';
import { viewsOf } from './views.ts';

type Access = { readonly width: 1 | 2 | 4 | 8; readonly offset: number; readonly value: bigint };

const LENGTH = 96;

const accesses = fc.array(
  fc.record<Access>({
    width: fc.constantFrom(1, 2, 4, 8),
    offset: fc.integer({ min: -16, max: LENGTH + 16 }),
    value: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  }),
  { maxLength: 60 },
);

test('any run of stores leaves the bytes that a DataView would, and is refused where it should be', () => {
  fc.assert(
    fc.property(accesses, fc.boolean(), (run, shared) => {
      const memory = viewsOf({ bytes: 160, shared });
      const view = new PageView(memory, 32, LENGTH);
      const model = new DataView(new ArrayBuffer(160));
      for (const access of run) {
        const valid =
          access.offset >= 0 && access.offset + access.width <= LENGTH && access.offset % access.width === 0;
        if (!valid) {
          expect(() => store(view, access)).toThrow(AssertionError);
          expect(() => load(view, access)).toThrow(AssertionError);
          continue;
        }
        store(view, access);
        const stored = BigInt.asUintN(access.width * 8, access.value);
        for (let i = 0; i < access.width; i++) {
          model.setUint8(32 + access.offset + i, Number((stored >> BigInt(i * 8)) & 0xffn));
        }
        expect(load(view, access)).toBe(stored);
      }
      expect([...memory.u8]).toEqual([...new Uint8Array(model.buffer)]);
    }),
    { seed: 20_251_122, numRuns: 300 },
  );
});

function store(view: PageView, { width, offset, value }: Access): void {
  const low = Number(value & 0xffff_ffffn);
  if (width === 1) view.setU8(offset, low);
  else if (width === 2) view.setU16(offset, low);
  else if (width === 4) view.setU32(offset, low);
  else if (value % 2n === 0n) view.setU64(offset, value);
  else view.setU64Pair(offset, low, Number(value >> 32n));
}

function load(view: PageView, { width, offset }: Access): bigint {
  if (width === 1) return BigInt(view.u8(offset));
  if (width === 2) return BigInt(view.u16(offset));
  if (width === 4) return BigInt(view.u32(offset));
  expect(view.u64(offset)).toBe((BigInt(view.u64High(offset)) << 32n) | BigInt(view.u64Low(offset)));
  return view.u64(offset);
}
