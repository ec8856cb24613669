import { createManagedMemory, type HostMemory, hpa, hpaToPfn, pfnToHpa } from '@nvmx/guest-memory';
import { field, Vmcs } from '@nvmx/vmx-fields';
import { Processor, type ProcessorObserver } from '../src/index.ts';

const PAGE = 4096;
const KERNEL_FRAMES = 64;
const EPT_LEAF = 0x37;
const EPT_TABLE = 7;
const WALK_LENGTH_AND_WRITE_BACK = 0x1e;

/** Where the parts of the test guest lie in guest memory. */
export const layout = {
  pml4: 0x1000,
  pdpt: 0x2000,
  directory: 0x3000,
  gdt: 0x4000,
  idt: 0x5000,
  tss: 0x6000,
  pageTable: 0x7000,
  handlers: 0x8000,
  code: 0x1_0000,
  stack: 0x2_0000,
  istStack: 0x2_8000,
  data: 0x3_0000,
} as const;

export const selectors = {
  code: 0x08,
  data: 0x10,
  userData: 0x18 | 3,
  userCode: 0x20 | 3,
  tss: 0x28,
  code32: 0x38,
} as const;

export interface GuestOptions {
  readonly frames?: number;
  readonly observer?: ProcessorObserver;
  readonly controls?: Partial<Record<'pin' | 'proc' | 'secondary' | 'exit' | 'entry', number>>;
}

export const controls = {
  HLT: 0x80,
  SECONDARY: 0x8000_0000,
  EPT: 2,
  VPID: 0x20,
} as const;

/**
 * A 64-bit guest in managed memory behind a real EPT: guest-physical page n is guest frame n.
 * Paging maps the first 1 GiB with 2-MiB pages, by one page directory; 4-KiB tables come by `map4K`.
 */
export class Guest {
  readonly memory: HostMemory;
  readonly vmcs = new Vmcs();
  readonly processor: Processor;
  readonly frames: number;
  readonly #eptRoot: number;

  constructor(o: GuestOptions = {}) {
    this.frames = o.frames ?? 1024;
    this.memory = createManagedMemory({ guestFrames: this.frames, kernelFrames: KERNEL_FRAMES });
    this.processor = new Processor({
      memory: this.memory,
      ...(o.observer === undefined ? {} : { observer: o.observer }),
    });
    this.#eptRoot = this.#kernelPage();
    for (let n = 0; n < this.frames; n++) {
      this.memory.frames.allocate('guest');
      this.mapEpt(n * PAGE, this.hpa(n * PAGE), EPT_LEAF);
    }
    this.#buildPaging();
    this.#buildTables();
    this.#buildVmcs(o.controls ?? {});
  }

  /** Host-physical address behind a guest-physical one under the initial EPT. */
  hpa(gpa: number): number {
    return (this.memory.kernelFrames + Math.floor(gpa / PAGE)) * PAGE + (gpa % PAGE);
  }

  /** Writes one EPT leaf of 4 KiB; `entry` holds permissions and memory type. */
  mapEpt(gpa: number, host: number, entry: number): void {
    this.memory.u32[this.eptEntry(gpa, 1) / 4] = host | entry;
  }

  /** Host-physical address of the EPT entry of a level for a guest-physical address; tables are made on the way. */
  eptEntry(gpa: number, level: number): number {
    let table = this.#eptRoot;
    for (let at = 4; at > level; at--) {
      const entry = table + (Math.floor(gpa / 2 ** (3 + 9 * at)) % 512) * 8;
      if (this.memory.u32[entry / 4] === 0) this.memory.u32[entry / 4] = this.#kernelPage() | EPT_TABLE;
      table = this.memory.u32[entry / 4] & ~0xfff;
    }
    return table + (Math.floor(gpa / 2 ** (3 + 9 * level)) % 512) * 8;
  }

  get eptPointer(): number {
    return this.#eptRoot | WALK_LENGTH_AND_WRITE_BACK;
  }

  read32(gpa: number): number {
    return this.memory.u32[this.hpa(gpa) / 4];
  }

  write32(gpa: number, value: number): void {
    this.memory.u32[this.hpa(gpa) / 4] = value;
  }

  read64(gpa: number): bigint {
    return (BigInt(this.read32(gpa + 4)) << 32n) | BigInt(this.read32(gpa));
  }

  write64(gpa: number, value: bigint): void {
    this.write32(gpa, Number(value & 0xffff_ffffn));
    this.write32(gpa + 4, Number((value >> 32n) & 0xffff_ffffn));
  }

  /** Puts bytes into guest memory; `code` as hexadecimal text, blanks ignored. */
  load(gpa: number, code: string): number {
    const bytes = parseHex(code);
    this.memory.u8.set(bytes, this.hpa(gpa));
    this.processor.invalidateCode(hpaToPfn(hpa(this.hpa(gpa - (gpa % PAGE)))));
    return bytes.length;
  }

  /** Loads code at `layout.code`, starts there and runs to a VM exit. Returns the exit reason. */
  run(code: string, o: { readonly instructionsMax?: number } = {}): number {
    this.load(layout.code, code);
    this.set(field.GUEST_RIP, layout.code);
    return this.resume(o);
  }

  resume(o: { readonly instructionsMax?: number } = {}): number {
    return this.processor.enter(this.vmcs, { instructionsMax: o.instructionsMax ?? 100_000 });
  }

  get(word: number): number {
    return this.vmcs.read32(word);
  }

  big(word: number): bigint {
    return this.vmcs.readBig(word);
  }

  set(word: number, value: number | bigint): void {
    this.vmcs.writeBig(word, BigInt(value));
  }

  /** Sets bits of a control. */
  enable(word: number, bits: number): void {
    this.vmcs.write32(word, (this.vmcs.read32(word) | bits) >>> 0);
  }

  /** An interrupt gate (type 14) or trap gate (type 15) to `target`. */
  setGate(
    vector: number,
    target: number,
    o: { readonly type?: number; readonly dpl?: number; readonly ist?: number } = {},
  ): void {
    const at = layout.idt + 16 * vector;
    const attributes = 0x8000 | ((o.dpl ?? 0) << 13) | ((o.type ?? 14) << 8) | (o.ist ?? 0);
    this.write32(at, (selectors.code << 16) | (target & 0xffff));
    this.write32(at + 4, (target & 0xffff_0000) | attributes);
    this.write32(at + 8, 0);
    this.write32(at + 12, 0);
  }

  /** Gives every vector a handler that puts the vector into CL and halts. */
  addHandlers(): void {
    for (let vector = 0; vector < 256; vector++) {
      const at = layout.handlers + 16 * vector;
      this.load(at, `b1${vector.toString(16).padStart(2, '0')}f4`);
      this.setGate(vector, at);
    }
  }

  /** Maps a 4-KiB page in the page table that covers the 2 MiB from `base` on; the first call replaces the 2-MiB page. */
  map4K(linear: number, gpa: number, flags: number): void {
    const base = linear - (linear % 0x20_0000);
    const entry = layout.directory + (base / 0x20_0000) * 8;
    if ((this.read32(entry) & 0x80) !== 0) {
      for (let n = 0; n < 512; n++) this.write64(layout.pageTable + 8 * n, BigInt(base + n * PAGE) | 3n);
      this.write64(entry, BigInt(layout.pageTable) | 7n);
    }
    this.write64(layout.pageTable + ((linear - base) / PAGE) * 8, BigInt(gpa) | BigInt(flags));
  }

  /** Enters ring 3 on the next entry. */
  becomeUser(): void {
    this.set(field.GUEST_CS_SELECTOR, selectors.userCode);
    this.set(field.GUEST_CS_AR_BYTES, 0xa0fb);
    this.set(field.GUEST_SS_SELECTOR, selectors.userData);
    this.set(field.GUEST_SS_AR_BYTES, 0xc0f3);
    for (const at of [layout.pml4, layout.pdpt]) this.write32(at, this.read32(at) | 4);
    for (let n = 0; n < 512; n++) this.write32(layout.directory + 8 * n, this.read32(layout.directory + 8 * n) | 4);
  }

  #kernelPage(): number {
    return pfnToHpa(this.memory.frames.allocate('kernel'));
  }

  #buildPaging(): void {
    this.write64(layout.pml4, BigInt(layout.pdpt) | 3n);
    this.write64(layout.pdpt, BigInt(layout.directory) | 3n);
    for (let n = 0; n < 512; n++) this.write64(layout.directory + 8 * n, BigInt(n * 0x20_0000) | 0x83n);
  }

  #buildTables(): void {
    const descriptors = [
      0n,
      0x00af_9b00_0000_ffffn,
      0x00cf_9300_0000_ffffn,
      0x00cf_f300_0000_ffffn,
      0x00af_fb00_0000_ffffn,
      0x0000_8b00_6000_0067n,
      0n,
      0x00cf_9b00_0000_ffffn,
    ];
    descriptors.forEach((descriptor, n) => {
      this.write64(layout.gdt + 8 * n, descriptor);
    });
    this.write64(layout.tss + 4, BigInt(layout.stack));
    this.memory.u16[(this.hpa(layout.tss) + 0x66) / 2] = 0x68;
    this.vmcs.write32(field.GUEST_TR_BASE, layout.tss);
  }

  #buildVmcs(o: NonNullable<GuestOptions['controls']>): void {
    this.set(field.PIN_BASED_VM_EXEC_CONTROL, o.pin ?? 1);
    this.set(field.CPU_BASED_VM_EXEC_CONTROL, (o.proc ?? controls.HLT) + controls.SECONDARY);
    this.set(field.SECONDARY_VM_EXEC_CONTROL, (o.secondary ?? controls.VPID) | controls.EPT);
    this.set(field.VM_EXIT_CONTROLS, o.exit ?? 0x8000);
    this.set(field.VM_ENTRY_CONTROLS, o.entry ?? 0x8200);
    this.set(field.VIRTUAL_PROCESSOR_ID, 1);
    this.set(field.EPT_POINTER, this.eptPointer);
    this.set(field.VMCS_LINK_POINTER, 0xffff_ffff_ffff_ffffn);
    this.set(field.GUEST_CR0, 0x8001_0031);
    this.set(field.GUEST_CR3, layout.pml4);
    this.set(field.GUEST_CR4, 0x2020);
    this.set(field.GUEST_IA32_EFER, 0xd01);
    this.set(field.GUEST_RFLAGS, 2);
    this.set(field.GUEST_RSP, layout.stack);
    this.set(field.GUEST_DR7, 0x400);
    this.#segment('CS', selectors.code, 0xa09b);
    for (const name of ['SS', 'DS', 'ES', 'FS', 'GS'] as const) this.#segment(name, selectors.data, 0xc093);
    this.set(field.GUEST_TR_SELECTOR, selectors.tss);
    this.set(field.GUEST_TR_LIMIT, 0x67);
    this.set(field.GUEST_TR_AR_BYTES, 0x8b);
    this.set(field.GUEST_LDTR_AR_BYTES, 0x1_0000);
    this.set(field.GUEST_GDTR_BASE, layout.gdt);
    this.set(field.GUEST_GDTR_LIMIT, 0x3f);
    this.set(field.GUEST_IDTR_BASE, layout.idt);
    this.set(field.GUEST_IDTR_LIMIT, 0xfff);
  }

  #segment(name: 'CS' | 'SS' | 'DS' | 'ES' | 'FS' | 'GS', selector: number, rights: number): void {
    this.set(field[`GUEST_${name}_SELECTOR`], selector);
    this.set(field[`GUEST_${name}_LIMIT`], 0xffff_ffff);
    this.set(field[`GUEST_${name}_AR_BYTES`], rights);
  }
}

export function parseHex(text: string): Uint8Array {
  const digits = text.replace(/\s+/g, '');
  return Uint8Array.from({ length: digits.length / 2 }, (_, n) => Number.parseInt(digits.slice(2 * n, 2 * n + 2), 16));
}
