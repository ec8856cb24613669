import { assert } from './errors.ts';
import type { PageView } from './page-view.ts';

/** Unsigned integers, little-endian, or a run of bytes. */
export type FieldType = 'u8' | 'u16' | 'u32' | 'u64' | { readonly bytes: number };

/** One field of a structure in guest memory. `offset` is in bytes and naturally aligned. */
export interface LayoutField {
  readonly offset: number;
  readonly type: FieldType;
}

/** The declaration of a structure. */
export type LayoutFields = Readonly<Record<string, LayoutField>>;

/** What a field holds: a u64 is a bigint, a byte run a Uint8Array, all else a number. */
export type FieldValue<Type extends FieldType> = Type extends 'u64'
  ? bigint
  : Type extends { readonly bytes: number }
    ? Uint8Array
    : number;

/** The fields of a structure as values. */
export type LayoutValues<Fields extends LayoutFields> = {
  -readonly [Name in keyof Fields]: FieldValue<Fields[Name]['type']>;
};

/** A declared structure: names, offsets and types, and access to them through a view that starts where it starts. */
export interface Layout<Fields extends LayoutFields> {
  readonly fields: Fields;
  readonly names: readonly (keyof Fields & string)[];
  /** Where the last field ends. */
  readonly bytes: number;
  offset(name: keyof Fields): number;
  /** A byte run is live; all else is a copy. */
  get<Name extends keyof Fields>(view: PageView, name: Name): FieldValue<Fields[Name]['type']>;
  /** Numbers are stored modulo their width; a byte run must fill its field. */
  set<Name extends keyof Fields>(view: PageView, name: Name, value: FieldValue<Fields[Name]['type']>): void;
  /** Every field, copied. */
  decode(view: PageView): LayoutValues<Fields>;
  /** Stores the given fields and leaves the others alone. */
  encode(view: PageView, values: Partial<LayoutValues<Fields>>): void;
}

/**
 * Declares a structure that lies in guest memory. Asserts that each field is aligned and that none overlap.
 *
 * @example
 * const piDesc = defineLayout({ pir: { offset: 0, type: { bytes: 32 } }, control: { offset: 32, type: 'u64' } });
 */
export function defineLayout<const Fields extends LayoutFields>(fields: Fields): Layout<Fields> {
  return new DeclaredLayout(fields);
}

class DeclaredLayout<Fields extends LayoutFields> implements Layout<Fields> {
  readonly fields: Fields;
  readonly names: readonly (keyof Fields & string)[];
  readonly bytes: number;

  constructor(fields: Fields) {
    this.fields = fields;
    this.names = Object.keys(fields);
    this.bytes = checkedEnd(fields);
  }

  offset(name: keyof Fields): number {
    return this.#field(name).offset;
  }

  get<Name extends keyof Fields>(view: PageView, name: Name): FieldValue<Fields[Name]['type']> {
    return load(view, this.#field(name)) as FieldValue<Fields[Name]['type']>;
  }

  set<Name extends keyof Fields>(view: PageView, name: Name, value: FieldValue<Fields[Name]['type']>): void {
    store(view, this.#field(name), value);
  }

  decode(view: PageView): LayoutValues<Fields> {
    const entries = this.names.map((name) => {
      const value = load(view, this.#field(name));
      return [name, value instanceof Uint8Array ? value.slice() : value];
    });
    return Object.fromEntries(entries) as LayoutValues<Fields>;
  }

  encode(view: PageView, values: Partial<LayoutValues<Fields>>): void {
    for (const [name, value] of Object.entries(values)) store(view, this.#field(name), value as never);
  }

  #field(name: keyof Fields): LayoutField {
    const field = this.fields[name];
    assert(field !== undefined, `layout: no field ${String(name)}`);
    return field;
  }
}

function load(view: PageView, { offset, type }: LayoutField): number | bigint | Uint8Array {
  switch (type) {
    case 'u8':
      return view.u8(offset);
    case 'u16':
      return view.u16(offset);
    case 'u32':
      return view.u32(offset);
    case 'u64':
      return view.u64(offset);
    default:
      return view.bytes(offset, type.bytes);
  }
}

function store(view: PageView, { offset, type }: LayoutField, value: number | bigint | Uint8Array): void {
  if (type === 'u8') view.setU8(offset, value as number);
  else if (type === 'u16') view.setU16(offset, value as number);
  else if (type === 'u32') view.setU32(offset, value as number);
  else if (type === 'u64') view.setU64(offset, value as bigint);
  else storeBytes(view, { offset, bytes: type.bytes }, value as Uint8Array);
}

function storeBytes(view: PageView, field: { offset: number; bytes: number }, value: Uint8Array): void {
  assert(value.length === field.bytes, `layout: ${value.length} bytes for a field of ${field.bytes}`);
  view.bytes(field.offset, field.bytes).set(value);
}

function checkedEnd(fields: LayoutFields): number {
  const rows = Object.entries(fields).map(([name, { offset, type }]) => ({ name, offset, ...extent(type) }));
  rows.sort((a, b) => a.offset - b.offset);
  let end = 0;
  let previous = '';
  for (const { name, offset, bytes, alignment } of rows) {
    assert(Number.isInteger(offset) && offset >= 0, `layout: ${name}: offset ${offset} is not a count of bytes`);
    assert(Number.isInteger(bytes) && bytes > 0, `layout: ${name}: ${bytes} bytes is not a size`);
    assert(offset % alignment === 0, `layout: ${name}: offset ${offset} is not a multiple of ${alignment}`);
    assert(offset >= end, `layout: ${name} at ${offset} overlaps ${previous}, which ends at ${end}`);
    end = offset + bytes;
    previous = name;
  }
  return end;
}

function extent(type: FieldType): { bytes: number; alignment: number } {
  if (typeof type === 'object') return { bytes: type.bytes, alignment: 1 };
  const bytes = Number(type.slice(1)) / 8;
  return { bytes, alignment: bytes };
}
