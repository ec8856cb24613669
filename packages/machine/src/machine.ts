import { assert, type HostMemory, type Hva, OperatingError, PAGE_SIZE, type TraceSink } from '@nvmx/guest-memory';
import { HostAddressSpace, type PageBackend, VmMemory } from '@nvmx/mmu-events';
import { PHYSICAL_ADDRESS_BITS, type RunOptions, type RunOutcome, type StaleAccessAudit, Vcpu } from '@nvmx/nested-vmx';
import { drive } from '@nvmx/sync';
import { bootArea, bootAreaBytes, IMAGE_GPA_FIRST } from './boot-area.ts';
import { type ElfImage, parseElf } from './elf.ts';
import { initialState } from './initial-state.ts';
import { PortBus, type PortRange } from './io-bus.ts';
import { Serial16550 } from './serial.ts';
import { debugExitPort, markerPort, reportPort } from './test-ports.ts';
import { X2Apic } from './x2apic.ts';

/** Devices and the APIC page live above: memory at gpa 0 ends here at the latest. */
const MEMORY_GPA_END = 0xc000_0000;
const MEMORY_BYTES_MIN = 2 * 1024 * 1024;

/** What a board is made of, and who listens to it. */
export interface MachineOptions {
  readonly memory: HostMemory;
  /** Memory of the guest, from gpa 0: whole pages, 2 MiB to 3 GiB. Frames are taken when the guest first touches a page. */
  readonly memoryBytes: number;
  /** Makes the backend that L0 reaches L1's pages through. */
  readonly createBackend: (vm: VmMemory) => PageBackend;
  /** Each byte that the guest writes to its serial port. */
  readonly onSerial?: ((byte: number) => void) | undefined;
  /** Each marker, with the clock at its arrival. */
  readonly onMarker?: ((marker: number, at: { readonly milliseconds: number }) => void) | undefined;
  /** Each figure that the guest reports. */
  readonly onReport?: ((index: number, value: number) => void) | undefined;
  /** Further devices, by ports that the board leaves free. */
  readonly ports?: readonly PortRange[] | undefined;
  /** What time-stamps markers; `performance.now()` unless said otherwise. */
  readonly clock?: (() => number) | undefined;
  readonly trace?: TraceSink | undefined;
  /** Makes the judge of what the processor does with addresses in vmcs02. `backend.observe()` shows it what L0 does. */
  readonly createAudit?: ((vm: VmMemory) => StaleAccessAudit) | undefined;
}

/** Why run() returned: the guest ended itself with a code, or what L0 says of its vCPU. */
export type MachineOutcome =
  | { readonly kind: 'exit'; readonly code: number }
  | Exclude<RunOutcome, { readonly kind: 'stopped' }>;

/** A board with one vCPU: memory, serial port, local APIC and the test ports. */
export interface Machine {
  readonly memoryBytes: number;
  readonly host: HostAddressSpace;
  readonly vm: VmMemory;
  readonly backend: PageBackend;
  readonly vcpu: Vcpu;
  readonly apic: X2Apic;
  readonly serial: Serial16550;
  /** Where guest memory lies in the address space of the VMM: gpa `a` at `memoryHva + a`. */
  readonly memoryHva: Hva;
  /**
   * Puts a static ELF64 image and the boot area into fresh guest memory, as user space writes it, and resets devices and vCPU. A refused image leaves the machine as it was.
   *
   * @throws OperatingError ENOEXEC for an image that is not one for this machine, ENOMEM for one that does not fit, EINVAL for
   * an odd command line. One sentence each.
   */
  load(image: Uint8Array, o?: { commandLine?: string | undefined }): void;
  /** Runs the guest until it ends, halts, or used up `entriesMax`; then it can be run on after `budget` and `halted` only. */
  run(o?: RunOptions): MachineOutcome;
  /** Gives up the vCPU, the pages of the backend and all memory. The machine may not be used afterwards. */
  destroy(): void;
}

/**
 * Composes the board: an address space with one mapping, memory slot 0 over it at gpa 0, the backend, and a vCPU.
 *
 * @throws OperatingError EINVAL for a memory size that the board cannot have.
 */
export function createMachine(o: MachineOptions): Machine {
  return new Board(o);
}

class Board implements Machine {
  readonly memoryBytes: number;
  readonly host: HostAddressSpace;
  readonly vm: VmMemory;
  readonly backend: PageBackend;
  readonly vcpu: Vcpu;
  readonly apic: X2Apic;
  readonly serial: Serial16550;
  readonly memoryHva: Hva;
  readonly #bus: PortBus;
  #loaded = false;
  #exitCode: number | undefined;

  constructor(o: MachineOptions) {
    checkMemoryBytes(o.memoryBytes);
    this.memoryBytes = o.memoryBytes;
    this.host = new HostAddressSpace({ memory: o.memory, trace: o.trace });
    this.vm = new VmMemory({ host: this.host, trace: o.trace });
    this.memoryHva = this.host.mmap({ pages: o.memoryBytes / PAGE_SIZE });
    drive(this.vm.setMemoryRegion({ slot: 0, gpa: 0, bytes: o.memoryBytes, hva: this.memoryHva }));
    this.backend = o.createBackend(this.vm);
    this.apic = new X2Apic({ id: 0, physicalAddressBits: PHYSICAL_ADDRESS_BITS });
    this.serial = new Serial16550({ transmit: o.onSerial ?? (() => {}) });
    this.#bus = new PortBus([...this.#ports(o), ...(o.ports ?? [])]);
    this.vcpu = new Vcpu({
      id: 0,
      vm: this.vm,
      backend: this.backend,
      io: this.#bus,
      apic: this.apic,
      trace: o.trace,
      audit: o.createAudit?.(this.vm),
    });
  }

  load(image: Uint8Array, o: { commandLine?: string | undefined } = {}): void {
    const elf = parseElf(image, { gpaFirst: IMAGE_GPA_FIRST, gpaEnd: this.memoryBytes });
    const boot = bootAreaBytes({ memoryBytes: this.memoryBytes, commandLine: o.commandLine ?? '' });
    if (this.#loaded) this.#powerOff();
    this.#loaded = true;
    this.#write(bootArea.gdt, boot);
    this.#writeSegments(elf);
    this.vcpu.reset(initialState({ entry: elf.entry }));
  }

  run(o?: RunOptions): MachineOutcome {
    assert(this.#loaded, 'machine: run: no image is loaded');
    const outcome = this.vcpu.run(o);
    if (outcome.kind !== 'stopped') return outcome;
    return { kind: 'exit', code: this.#exitCode! };
  }

  destroy(): void {
    this.vcpu.destroy();
    drive(this.backend.close());
    drive(this.vm.destroy());
    drive(this.host.destroy());
  }

  /** The devices of the board, one row each. */
  #ports(o: MachineOptions): PortRange[] {
    const clock = o.clock ?? (() => performance.now());
    const exit = debugExitPort((code) => this.#exit(code));
    const marker = markerPort((number) => o.onMarker?.(number, { milliseconds: clock() }));
    const report = reportPort((index, value) => o.onReport?.(index, value));
    return [
      { name: 'debug exit', first: 0xf4, last: 0xf7, accessBytes: 4, device: exit },
      { name: 'COM1', first: 0x3f8, last: 0x3ff, accessBytes: 1, device: this.serial },
      { name: 'marker', first: 0x5e0, last: 0x5e3, accessBytes: 4, device: marker },
      { name: 'report', first: 0x5e4, last: 0x5e7, accessBytes: 4, device: report },
    ];
  }

  #exit(code: number): void {
    this.#exitCode ??= code;
    this.vcpu.stop();
  }

  #writeSegments({ segments }: ElfImage): void {
    for (const { gpa, bytes } of segments) this.#write(gpa, bytes);
  }

  /** User space writes guest memory: through its own address space, as any store of the VMM. */
  #write(gpa: number, bytes: Uint8Array): void {
    drive(this.host.write((this.memoryHva + gpa) as Hva, bytes));
  }

  /** Nothing of an earlier image stays: its memory reads as zeros again, its devices are as at power-on. */
  #powerOff(): void {
    this.#exitCode = undefined;
    this.apic.reset();
    this.#bus.reset();
    drive(this.host.discard({ start: this.memoryHva, end: (this.memoryHva + this.memoryBytes) as Hva }));
  }
}

function checkMemoryBytes(bytes: number): void {
  const fits =
    Number.isInteger(bytes) && bytes >= MEMORY_BYTES_MIN && bytes <= MEMORY_GPA_END && bytes % PAGE_SIZE === 0;
  if (fits) return;
  const message = `machine: create failed: ${bytes} bytes of memory, not whole pages from 2 MiB to 3 GiB`;
  throw new OperatingError('EINVAL', message, { memoryBytes: bytes });
}
