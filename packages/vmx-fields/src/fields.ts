import { field, fieldTuples } from './generated/vmcs-fields.ts';

/** The name of a VMCS field in KVM's and the SDM's spelling, without a _HIGH twin: the high half belongs to its field. */
export type FieldName = keyof typeof field;

/** Natural width is 64 bits on a processor with Intel 64. */
export type FieldWidth = 'u16' | 'u32' | 'u64' | 'natural';
/** `exit info` is what the SDM calls read-only data. */
export type FieldType = 'control' | 'exit info' | 'guest state' | 'host state';

/** Everything that the tables say about one VMCS field. */
export interface FieldRow {
  readonly name: FieldName;
  /** What VMREAD and VMWRITE name it by. */
  readonly encoding: number;
  readonly width: FieldWidth;
  readonly type: FieldType;
  readonly index: number;
  /** VMWRITE refuses it, unless IA32_VMX_MISC bit 29 is set. */
  readonly readOnly: boolean;
  /** Index of its low word in {@link Vmcs.words}; the high word follows. */
  readonly word: number;
  /** Absent: vmcs12 does not hold the field, and L1's VMREAD fails with VMXERR_UNSUPPORTED_VMCS_COMPONENT. */
  readonly vmcs12Offset?: number;
  readonly evmcsOffset?: number;
  /** `ALL`: any write makes every group unclean. `NONE`: no clean bit covers it. */
  readonly evmcsCleanGroup?: string;
  /** Handled by a hardware shadow VMCS: read only, or read and write. */
  readonly shadow?: 'RO' | 'RW';
  /** Synchronized from vmcs02 only when L1 looks: is_vmcs12_ext_field() in KVM. */
  readonly rare: boolean;
}

const widths: readonly FieldWidth[] = ['u16', 'u64', 'u32', 'natural'];
const types: readonly FieldType[] = ['control', 'exit info', 'guest state', 'host state'];

/** One row a field, in the order of their encodings. */
export const fieldRows: readonly FieldRow[] = /* @__PURE__ */ fieldTuples.map(fieldRow);

/** Bits that a field of this width holds. Natural width is 64: this is a 64-bit processor. */
export function fieldBits(width: FieldWidth): 16 | 32 | 64 {
  if (width === 'u16') return 16;
  return width === 'u32' ? 32 : 64;
}

/** What an encoding says about itself. Intel SDM volume 3, "VMCS Data Organization". */
export function parseEncoding(encoding: number): { width: FieldWidth; type: FieldType; index: number; high: boolean } {
  return {
    width: widths[(encoding >>> 13) & 3]!,
    type: types[(encoding >>> 10) & 3]!,
    index: (encoding >>> 1) & 0x1ff,
    high: (encoding & 1) === 1,
  };
}

/** The field that an operand of VMREAD or VMWRITE names; `high` when it names the upper half of a 64-bit field. */
export interface FieldAccess {
  readonly row: FieldRow;
  readonly high: boolean;
}

/**
 * Looks a 32-bit encoding up. Undefined when no field has it. The same object for the same encoding, nothing is allocated.
 * An odd encoding names the high half, and only fields of type u64 have one.
 */
export function fieldByEncoding(encoding: number): FieldAccess | undefined {
  accesses ??= accessesByEncoding();
  return accesses.get(encoding);
}

let accesses: Map<number, FieldAccess> | undefined;

function fieldRow(tuple: (typeof fieldTuples)[number]): FieldRow {
  const [encoding, name, vmcs12Offset, evmcsOffset, evmcsCleanGroup, shadow, rare] = tuple;
  const { width, type, index } = parseEncoding(encoding);
  return {
    name: name as FieldName,
    encoding,
    width,
    type,
    index,
    readOnly: type === 'exit info',
    word: field[name as FieldName],
    ...(vmcs12Offset < 0 ? {} : { vmcs12Offset }),
    ...(evmcsOffset < 0 ? {} : { evmcsOffset, evmcsCleanGroup }),
    ...(shadow === '' ? {} : { shadow: shadow as 'RO' | 'RW' }),
    rare: rare === 1,
  };
}

function accessesByEncoding(): Map<number, FieldAccess> {
  const map = new Map<number, FieldAccess>();
  for (const row of fieldRows) {
    map.set(row.encoding, { row, high: false });
    if (row.width === 'u64') map.set(row.encoding + 1, { row, high: true });
  }
  return map;
}
