import fc from 'fast-check';
import { describe, expect, expectTypeOf, test } from 'vitest';
import { AssertionError, defineLayout, type FieldType, type LayoutFields, PageView } from '../src/index.ts';
import { viewsOf } from './views.ts';

const piDesc = defineLayout({
  pir: { offset: 0, type: { bytes: 32 } },
  control: { offset: 32, type: 'u64' },
  vector: { offset: 40, type: 'u8' },
  port: { offset: 42, type: 'u16' },
  destination: { offset: 44, type: 'u32' },
});

function view(bytes = 64): PageView {
  return new PageView(viewsOf({ bytes: 128, shared: false }), 64, bytes);
}

describe('defineLayout', () => {
  test('knows its names, offsets and end', () => {
    expect(piDesc.names).toEqual(['pir', 'control', 'vector', 'port', 'destination']);
    expect(piDesc.offset('port')).toBe(42);
    expect(piDesc.bytes).toBe(48);
    expect(defineLayout({}).bytes).toBe(0);
  });

  test('values and names are typed by the declaration', () => {
    expectTypeOf(piDesc.get(view(), 'pir')).toEqualTypeOf<Uint8Array>();
    expectTypeOf(piDesc.get(view(), 'control')).toEqualTypeOf<bigint>();
    expectTypeOf(piDesc.get(view(), 'vector')).toEqualTypeOf<number>();
    expectTypeOf(piDesc.decode(view())).toEqualTypeOf<{
      pir: Uint8Array;
      control: bigint;
      vector: number;
      port: number;
      destination: number;
    }>();
    expectTypeOf(piDesc.fields.port.offset).toEqualTypeOf<42>();
    expectTypeOf<Parameters<typeof piDesc.offset>[0]>().toEqualTypeOf<
      'pir' | 'control' | 'vector' | 'port' | 'destination'
    >();
  });

  test('set and get, each field in its place and no other', () => {
    const page = view();
    piDesc.set(page, 'control', 0x8000_0000_0000_0001n);
    piDesc.set(page, 'vector', 0xf2);
    piDesc.set(page, 'port', 0x3f8);
    piDesc.set(page, 'destination', 0xffff_ffff);
    piDesc.set(page, 'pir', new Uint8Array(32).fill(7));
    expect([page.u64(32), page.u8(40), page.u8(41), page.u16(42), page.u32(44)]).toEqual([
      0x8000_0000_0000_0001n,
      0xf2,
      0,
      0x3f8,
      0xffff_ffff,
    ]);
    expect(piDesc.get(page, 'control')).toBe(0x8000_0000_0000_0001n);
    expect([...piDesc.get(page, 'pir')]).toEqual(new Array(32).fill(7));
  });

  test('get() of a byte run is live, decode() is a copy', () => {
    const page = view();
    const live = piDesc.get(page, 'pir');
    const copied = piDesc.decode(page);
    page.setU8(3, 9);
    expect([live[3], copied.pir[3]]).toEqual([9, 0]);
  });

  test('encode() stores what is given and leaves the rest alone', () => {
    const page = view();
    page.bytes().fill(0xff);
    piDesc.encode(page, { vector: 1, control: 2n });
    expect(piDesc.decode(page)).toEqual({
      pir: new Uint8Array(32).fill(0xff),
      control: 2n,
      vector: 1,
      port: 0xffff,
      destination: 0xffff_ffff,
    });
  });

  test.each([0, 31, 33])('%d bytes do not fill a field of 32', (count) => {
    expect(() => piDesc.set(view(), 'pir', new Uint8Array(count))).toThrow(`layout: ${count} bytes for a field of 32`);
  });

  test('a field outside the view is refused', () => {
    expect(piDesc.get(view(48), 'destination')).toBe(0);
    expect(() => piDesc.get(view(47), 'destination')).toThrow(AssertionError);
    expect(() => piDesc.decode(view(8))).toThrow(AssertionError);
  });

  test('a field that was not declared is refused', () => {
    expect(() => piDesc.get(view(), 'other' as 'port')).toThrow('layout: no field other');
    expect(() => piDesc.encode(view(), { other: 1 } as object)).toThrow('layout: no field other');
  });

  test.each<[string, LayoutFields, string]>([
    ['unaligned u16', { a: { offset: 1, type: 'u16' } }, 'a: offset 1 is not a multiple of 2'],
    ['unaligned u32', { a: { offset: 2, type: 'u32' } }, 'a: offset 2 is not a multiple of 4'],
    ['unaligned u64', { a: { offset: 4, type: 'u64' } }, 'a: offset 4 is not a multiple of 8'],
    ['negative offset', { a: { offset: -8, type: 'u64' } }, 'a: offset -8 is not a count of bytes'],
    ['fractional offset', { a: { offset: 0.5, type: 'u8' } }, 'a: offset 0.5 is not a count of bytes'],
    ['empty byte run', { a: { offset: 0, type: { bytes: 0 } } }, 'a: 0 bytes is not a size'],
    [
      'overlap, declared in any order',
      { b: { offset: 4, type: 'u8' }, a: { offset: 0, type: { bytes: 5 } } },
      'b at 4 overlaps a, which ends at 5',
    ],
  ])('%s is refused', (_title, fields, text) => {
    expect(() => defineLayout(fields)).toThrow(`layout: ${text}`);
  });

  test('decode() gives back what encode() stored, for any layout', () => {
    const types: readonly FieldType[] = ['u8', 'u16', 'u32', 'u64', { bytes: 3 }, { bytes: 8 }];
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.constantFrom(...types), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })), { maxLength: 10 }),
        (rows) => {
          const fields: Record<string, { offset: number; type: FieldType }> = {};
          const values: Record<string, number | bigint | Uint8Array> = {};
          let end = 0;
          for (const [index, [type, value]] of rows.entries()) {
            const bytes = typeof type === 'object' ? type.bytes : Number(type.slice(1)) / 8;
            end = Math.ceil(end / bytes) * bytes;
            fields[`field${index}`] = { offset: end, type };
            const wrapped = BigInt.asUintN(Math.min(bytes, 8) * 8, value);
            if (typeof type === 'object') values[`field${index}`] = new Uint8Array(bytes).fill(Number(value & 0xffn));
            else values[`field${index}`] = type === 'u64' ? wrapped : Number(wrapped);
            end += bytes;
          }
          const layout = defineLayout(fields);
          const page = new PageView(viewsOf({ bytes: 256, shared: false }), 0, layout.bytes);
          layout.encode(page, values as never);
          expect(layout.decode(page)).toEqual(values);
        },
      ),
      { seed: 20_251_122, numRuns: 200 },
    );
  });
});
