/** A segment of a test image; what is left out fits the rest. */
export interface SegmentPlan {
  readonly gpa: number | bigint;
  readonly bytes: Uint8Array;
  readonly memoryBytes?: number | bigint;
  readonly fileBytes?: number | bigint;
  readonly offset?: number | bigint;
  readonly type?: number;
}

/** What may be odd about a test image. */
export interface ElfPlan {
  readonly entry?: number | bigint;
  readonly segments?: readonly SegmentPlan[];
  readonly class?: number;
  readonly data?: number;
  readonly version?: number;
  readonly type?: number;
  readonly machine?: number;
  readonly programHeaderOffset?: number | bigint;
  readonly programHeaderBytes?: number;
  readonly programHeaderCount?: number;
}

const HEADER = 64;
const PROGRAM_HEADER = 56;

/** One segment of code at 1 MiB, entered at its first byte. */
export function goodSegment(bytes: Uint8Array = Uint8Array.of(0xf4)): SegmentPlan {
  return { gpa: 0x10_0000, bytes };
}

/** Builds an ELF64 file: header, program headers, then the bytes of each segment. */
export function elf(plan: ElfPlan = {}): Uint8Array {
  const segments = plan.segments ?? [goodSegment()];
  const bodyOffset = HEADER + PROGRAM_HEADER * segments.length;
  const file = new Uint8Array(bodyOffset + segments.reduce((sum, { bytes }) => sum + bytes.length, 0));
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, plan.class ?? 2, plan.data ?? 1, plan.version ?? 1]);
  view.setUint16(16, plan.type ?? 2, true);
  view.setUint16(18, plan.machine ?? 62, true);
  view.setUint32(20, 1, true);
  view.setBigUint64(24, BigInt(plan.entry ?? segments[0]?.gpa ?? 0), true);
  view.setBigUint64(32, BigInt(plan.programHeaderOffset ?? HEADER), true);
  view.setUint16(52, HEADER, true);
  view.setUint16(54, plan.programHeaderBytes ?? PROGRAM_HEADER, true);
  view.setUint16(56, plan.programHeaderCount ?? segments.length, true);
  let offset = bodyOffset;
  for (const [index, segment] of segments.entries()) {
    const at = HEADER + PROGRAM_HEADER * index;
    view.setUint32(at, segment.type ?? 1, true);
    view.setUint32(at + 4, 5, true);
    view.setBigUint64(at + 8, BigInt(segment.offset ?? offset), true);
    view.setBigUint64(at + 16, BigInt(segment.gpa), true);
    view.setBigUint64(at + 24, BigInt(segment.gpa), true);
    view.setBigUint64(at + 32, BigInt(segment.fileBytes ?? segment.bytes.length), true);
    view.setBigUint64(at + 40, BigInt(segment.memoryBytes ?? segment.bytes.length), true);
    file.set(segment.bytes, offset);
    offset += segment.bytes.length;
  }
  return file;
}
