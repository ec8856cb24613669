import { OperatingError } from '@nvmx/guest-memory';

/** What the machine needs of an executable. Bytes beyond `bytes.length`, up to `memoryBytes`, are zeros. */
export interface ElfImage {
  readonly entry: number;
  readonly segments: readonly ElfSegment[];
}

/** One loadable segment. `bytes` is a view of the image. */
export interface ElfSegment {
  readonly gpa: number;
  readonly bytes: Uint8Array;
  readonly memoryBytes: number;
}

/** Where an image may lie. */
export interface ImageBounds {
  readonly gpaFirst: number;
  readonly gpaEnd: number;
}

const HEADER_BYTES = 64;
const PROGRAM_HEADER_BYTES = 56;
const CLASS_64 = 2;
const DATA_LITTLE_ENDIAN = 1;
const VERSION_CURRENT = 1;
const TYPE_EXEC = 2;
const TYPE_DYN = 3;
const MACHINE_X86_64 = 62;
/** The number of program headers does not fit and stands elsewhere. */
const PROGRAM_HEADERS_EXTENDED = 0xffff;
const segmentType = { LOAD: 1, INTERP: 3 } as const;

/**
 * Reads a static ELF64 executable for x86-64 and checks all of it that loading relies on. Segments go where their physical
 * addresses say, in the order of the file.
 *
 * @throws OperatingError ENOEXEC for an image that is malformed, of another kind, or in the way of the boot area; ENOMEM for
 * one that does not fit below `gpaEnd`. The message is one sentence.
 */
export function parseElf(image: Uint8Array, bounds: ImageBounds): ElfImage {
  const view = new DataView(image.buffer, image.byteOffset, image.byteLength);
  checkIdentification(image);
  checkKind(view);
  const segments = programHeaders(view)
    .filter((header) => isLoadable(header))
    .map((header) => segmentOf(image, header));
  if (segments.length === 0) throw refusal('it has no segment to load');
  for (const segment of segments) checkPlace(segment, bounds);
  checkApart(segments);
  const entry = readAddress(view, 24);
  const inside = segments.some(({ gpa, memoryBytes }) => entry >= gpa && entry < gpa + memoryBytes);
  if (!inside) throw refusal(`its entry point ${hex(entry)} is in none of its segments`, { entry });
  return { entry, segments };
}

interface ProgramHeader {
  readonly type: number;
  readonly offset: number;
  readonly gpa: number;
  readonly fileBytes: number;
  readonly memoryBytes: number;
}

function checkIdentification(image: Uint8Array): void {
  const isElf = image[0] === 0x7f && image[1] === 0x45 && image[2] === 0x4c && image[3] === 0x46;
  if (!isElf) throw refusal('it is not an ELF file');
  if (image.length < HEADER_BYTES) throw refusal(`it ends inside its ELF header, after ${image.length} bytes`);
  if (image[4] !== CLASS_64) throw refusal('it is a 32-bit ELF file, not a 64-bit one');
  if (image[5] !== DATA_LITTLE_ENDIAN) throw refusal('it is big-endian');
  if (image[6] !== VERSION_CURRENT) throw refusal(`its ELF version is ${image[6]}, not 1`);
}

function checkKind(view: DataView): void {
  const machine = view.getUint16(18, true);
  if (machine !== MACHINE_X86_64) throw refusal(`it is for ELF machine ${machine}, not for x86-64`, { machine });
  const type = view.getUint16(16, true);
  if (type === TYPE_DYN) throw refusal('it is position-independent; link it with -static -no-pie', { type });
  if (type !== TYPE_EXEC) throw refusal(`it is no executable (ELF type ${type})`, { type });
}

function programHeaders(view: DataView): ProgramHeader[] {
  const first = readAddress(view, 32);
  const bytes = view.getUint16(54, true);
  const count = view.getUint16(56, true);
  if (count === 0) throw refusal('it has no program headers');
  if (count === PROGRAM_HEADERS_EXTENDED) throw refusal('it has too many program headers');
  if (bytes !== PROGRAM_HEADER_BYTES) throw refusal(`its program headers have ${bytes} bytes, not 56`, { bytes });
  if (first + count * bytes > view.byteLength)
    throw refusal('its program headers lie outside the file', { first, count });
  return Array.from({ length: count }, (_, index) => programHeader(view, first + index * bytes));
}

function programHeader(view: DataView, at: number): ProgramHeader {
  return {
    type: view.getUint32(at, true),
    offset: readAddress(view, at + 8),
    gpa: readAddress(view, at + 24),
    fileBytes: readAddress(view, at + 32),
    memoryBytes: readAddress(view, at + 40),
  };
}

function isLoadable({ type, memoryBytes, fileBytes }: ProgramHeader): boolean {
  if (type === segmentType.INTERP) throw refusal('it needs a dynamic linker; link it with -static');
  return type === segmentType.LOAD && (memoryBytes > 0 || fileBytes > 0);
}

function segmentOf(image: Uint8Array, header: ProgramHeader): ElfSegment {
  const { gpa, offset, fileBytes, memoryBytes } = header;
  const at = `the segment at ${hex(gpa)}`;
  if (fileBytes > memoryBytes) {
    throw refusal(`${at} is larger in the file (${fileBytes} bytes) than in memory (${memoryBytes})`, { gpa });
  }
  if (offset + fileBytes > image.length) throw refusal(`${at} ends beyond the file`, { gpa, offset, fileBytes });
  return { gpa, bytes: image.subarray(offset, offset + fileBytes), memoryBytes };
}

function checkPlace({ gpa, memoryBytes }: ElfSegment, { gpaFirst, gpaEnd }: ImageBounds): void {
  const at = `the segment at ${hex(gpa)}`;
  if (gpa < gpaFirst) throw refusal(`${at} overlaps the boot area, which ends at ${hex(gpaFirst)}`, { gpa, gpaFirst });
  if (gpa + memoryBytes > gpaEnd) {
    const sentence = `${at} needs memory up to ${hex(gpa + memoryBytes)}, but memory ends at ${hex(gpaEnd)}`;
    throw refusal(sentence, { gpa, memoryBytes, gpaEnd }, 'ENOMEM');
  }
}

function checkApart(segments: readonly ElfSegment[]): void {
  const sorted = [...segments].sort((a, b) => a.gpa - b.gpa);
  for (const [index, segment] of sorted.entries()) {
    const next = sorted[index + 1];
    if (next === undefined || segment.gpa + segment.memoryBytes <= next.gpa) continue;
    throw refusal(`its segments at ${hex(segment.gpa)} and ${hex(next.gpa)} overlap`, { gpa: next.gpa });
  }
}

/** A 64-bit number of the file. One beyond 2^53 loses low bits, and is too large for every check that it meets. */
function readAddress(view: DataView, at: number): number {
  return Number(view.getBigUint64(at, true));
}

function refusal(reason: string, details: Record<string, unknown> = {}, code = 'ENOEXEC'): OperatingError {
  return new OperatingError(code, `machine: cannot load the image: ${reason}`, details);
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
