import { OperatingError } from '@nvmx/guest-memory';
import { pageTableEntry } from '@nvmx/vmx-fields';

/** Where the machine puts what an image finds at entry, in guest-physical addresses; `end` is the first address behind it. */
export const bootArea: {
  readonly gdt: number;
  readonly pml4: number;
  readonly pdpt: number;
  /** Four page directories, 2048 entries of 2 MiB. */
  readonly pageDirectories: number;
  readonly info: number;
  readonly commandLine: number;
  readonly end: number;
} = {
  gdt: 0x1000,
  pml4: 0x2000,
  pdpt: 0x3000,
  pageDirectories: 0x4000,
  info: 0x9000,
  commandLine: 0x9010,
  end: 0xa000,
};

/** Images load here or above. */
export const IMAGE_GPA_FIRST = 0x10_0000;

/** Selectors of the boot GDT, and its last byte. */
export const bootGdt: { readonly code: number; readonly data: number; readonly limit: number } = {
  code: 0x10,
  data: 0x18,
  limit: 0x1f,
};

const CODE_64 = 0x00af_9b00_0000_ffffn;
const DATA = 0x00cf_9300_0000_ffffn;
const LARGE_PAGE_BYTES = 0x20_0000;
const LARGE_PAGES = 2048;
const TABLE_ENTRY = pageTableEntry.P | pageTableEntry.RW | pageTableEntry.A;
const LARGE_PAGE_ENTRY = TABLE_ENTRY | pageTableEntry.D | pageTableEntry.PS;

/**
 * The bytes of guest memory from `bootArea.gdt` to `bootArea.end`: GDT, identity page tables of the first 4 GiB, boot info and
 * command line.
 *
 * @throws OperatingError EINVAL for a command line that is too long, or holds anything but printable ASCII.
 */
export function bootAreaBytes(o: { memoryBytes: number; commandLine: string }): Uint8Array {
  const bytes = new Uint8Array(bootArea.end - bootArea.gdt);
  const view = new DataView(bytes.buffer);
  const set = (gpa: number, value: bigint): void => view.setBigUint64(gpa - bootArea.gdt, value, true);
  set(bootArea.gdt + bootGdt.code, CODE_64);
  set(bootArea.gdt + bootGdt.data, DATA);
  set(bootArea.pml4, BigInt(bootArea.pdpt | TABLE_ENTRY));
  for (let i = 0; i < 4; i += 1)
    set(bootArea.pdpt + 8 * i, BigInt((bootArea.pageDirectories + 4096 * i) | TABLE_ENTRY));
  for (let i = 0; i < LARGE_PAGES; i += 1) {
    set(bootArea.pageDirectories + 8 * i, BigInt(i * LARGE_PAGE_BYTES + LARGE_PAGE_ENTRY));
  }
  set(bootArea.info, BigInt(o.memoryBytes));
  set(bootArea.info + 8, BigInt(bootArea.commandLine));
  bytes.set(commandLineBytes(o.commandLine), bootArea.commandLine - bootArea.gdt);
  return bytes;
}

function commandLineBytes(commandLine: string): Uint8Array {
  const lengthMax = bootArea.end - bootArea.commandLine - 1;
  if (commandLine.length > lengthMax) {
    const message = `machine: load failed: the command line has ${commandLine.length} characters, more than ${lengthMax}`;
    throw new OperatingError('EINVAL', message, { length: commandLine.length, lengthMax });
  }
  const odd = [...commandLine].find((character) => !/^[ -~]$/.test(character));
  if (odd !== undefined) {
    const message = `machine: load failed: the command line holds ${JSON.stringify(odd)}, which is not printable ASCII`;
    throw new OperatingError('EINVAL', message, { character: odd });
  }
  return Uint8Array.from(commandLine, (character) => character.charCodeAt(0));
}
