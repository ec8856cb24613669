/** How the generated modules write their tables: each helper turns the literal of a table into its published, typed shape. */

/** The type of a member, or of one element of it. */
export type Scalar = 'u8' | 'u16' | 'u32' | 'u64';

/** One member of a structure in guest memory: `bytes` is the whole member, an array when it exceeds one `type`. */
export interface LayoutField {
  readonly offset: number;
  readonly bytes: number;
  readonly type: Scalar;
}

/** A structure in guest memory, members in the order of their offsets. */
export type Layout<Name extends string> = { readonly [name in Name]: LayoutField };

/** A member that is a run of bits. `byteOffset` is the byte of its register that L0 accesses, bits count from bit 0 of byte 0. */
export interface BitField {
  readonly byteOffset: number;
  readonly firstBit: number;
  readonly lastBit: number;
}

/** A capability MSR as its table states it; an `undefined` half is derived. */
export interface CapabilityRow {
  readonly msr: number;
  readonly low: number | undefined;
  readonly high: number | undefined;
}

export function constants<Name extends string>(rows: Record<Name, number>): Readonly<Record<Name, number>> {
  return rows;
}

export function layout<Name extends string>(rows: Record<Name, readonly [number, number, Scalar]>): Layout<Name> {
  const fields = {} as Record<Name, LayoutField>;
  for (const name in rows) {
    const [offset, bytes, type] = rows[name];
    fields[name] = { offset, bytes, type };
  }
  return fields;
}

export function bitLayout<Name extends string>(rows: Record<Name, BitField>): { readonly [name in Name]: BitField } {
  return rows;
}

export function capabilityRows<Name extends string>(
  rows: Record<Name, CapabilityRow>,
): { readonly [name in Name]: CapabilityRow } {
  return rows;
}
