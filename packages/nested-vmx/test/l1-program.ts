import { createManagedMemory, gpa } from '@nvmx/guest-memory';
import { HostAddressSpace, VmMemory } from '@nvmx/mmu-events';
import { createPfncacheBackend } from '@nvmx/pfncache';
import { drive } from '@nvmx/sync';
import { type RunOutcome, Vcpu } from '../src/index.ts';

const PAGES = 32;
const CODE = 0x3000;
const FLAGS_PORT = 0x80;

/** Bytes of instructions with their operand at an absolute address below 2 GiB. */
const at = (address: number, register: number): number[] => [(register << 3) | 4, 0x25, ...little(address, 4)];

function little(value: number | bigint, bytes: number): number[] {
  return Array.from({ length: bytes }, (_, n) => Number((BigInt(value) >> BigInt(8 * n)) & 0xffn));
}

/** A few instructions of L1, as machine code. `flags` writes RFLAGS to a port, so that a test sees what came of the one before. */
export const l1 = {
  flags: [0x9c, 0x58, 0xe7, FLAGS_PORT],
  hlt: [0xf4],
  vmxon: (address: number) => [0xf3, 0x0f, 0xc7, ...at(address, 6)],
  vmxoff: [0x0f, 0x01, 0xc4],
  vmclear: (address: number) => [0x66, 0x0f, 0xc7, ...at(address, 6)],
  vmptrld: (address: number) => [0x0f, 0xc7, ...at(address, 6)],
  vmptrst: (address: number) => [0x0f, 0xc7, ...at(address, 7)],
  vmlaunch: [0x0f, 0x01, 0xc2],
  vmresume: [0x0f, 0x01, 0xc3],
  vmcall: [0x0f, 0x01, 0xc1],
  /** MOV RAX, imm64; MOV RCX, imm64. */
  rax: (value: number | bigint) => [0x48, 0xb8, ...little(value, 8)],
  rcx: (value: number | bigint) => [0x48, 0xb9, ...little(value, 8)],
  /** VMREAD RCX <- field RAX; VMWRITE field RAX <- RCX; the same with memory. */
  vmread: [0x0f, 0x78, 0xc1],
  vmwrite: [0x0f, 0x79, 0xc1],
  vmreadTo: (address: number) => [0x0f, 0x78, ...at(address, 0)],
  vmwriteFrom: (address: number) => [0x0f, 0x79, ...at(address, 0)],
  /** INVEPT and INVVPID of type RAX. */
  invept: (address: number) => [0x66, 0x0f, 0x38, 0x80, ...at(address, 0)],
  invvpid: (address: number) => [0x66, 0x0f, 0x38, 0x81, ...at(address, 0)],
  outRcx: [0x48, 0x89, 0xc8, 0xe7, FLAGS_PORT],
};

/** Where tests put operands and regions. The regions begin with the revision of L0. */
export const place = {
  vmxon: 0x8000,
  vmcs: 0x9000,
  otherVmcs: 0xa000,
  badRevision: 0xb000,
  /** 64-bit pointers to the above, in this order, 8 bytes apart. */
  pointers: 0x7000,
  scratch: 0x6000,
} as const;

/** The address of the pointer to a region. */
export const pointerTo = (region: 'vmxon' | 'vmcs' | 'otherVmcs' | 'badRevision' | 'unaligned' | 'beyond'): number =>
  place.pointers + 8 * ['vmxon', 'vmcs', 'otherVmcs', 'badRevision', 'unaligned', 'beyond'].indexOf(region);

const REVISION = 0x11e5_7ed0;
const pointerValues = [place.vmxon, place.vmcs, place.otherVmcs, place.badRevision, 0x9008, 2 ** 46];

export interface L1Run {
  readonly vcpu: Vcpu;
  readonly vm: VmMemory;
  readonly outcome: RunOutcome;
  /** What the program wrote to the port. */
  readonly written: readonly number[];
  /** Interruption information of each event that L0 injected. */
  readonly injected: readonly number[];
}

/** Runs a program of L1 in 64-bit mode at privilege 0 with VMX enabled, to its HLT or its end. */
export function runL1(program: readonly (readonly number[])[], fields: Record<string, number> = {}): L1Run {
  const host = new HostAddressSpace({ memory: createManagedMemory({ guestFrames: 64 }) });
  const vm = new VmMemory({ host });
  drive(vm.setMemoryRegion({ slot: 0, gpa: 0, bytes: PAGES * 4096, hva: host.mmap({ pages: PAGES }) }));
  const write = (address: number, bytes: readonly number[]) =>
    drive(vm.writeGuest(gpa(address), Uint8Array.from(bytes)));
  write(0x1000, little(0x2003, 8));
  write(0x2000, little(0x0083, 8));
  write(CODE, [...program, l1.hlt].flat());
  write(
    place.pointers,
    pointerValues.flatMap((value) => little(value, 8)),
  );
  for (const region of [place.vmxon, place.vmcs, place.otherVmcs]) write(region, little(REVISION, 4));
  const written: number[] = [];
  const injected: number[] = [];
  const vcpu = new Vcpu({
    id: 0,
    vm,
    backend: createPfncacheBackend(vm),
    io: { read: () => 0xff, write: (_port, _bytes, value) => void written.push(value) },
    apic: {
      id: 0,
      taskPriority: 0,
      readMsr: () => undefined,
      writeMsr: () => false,
      highestPending: () => -1,
      acknowledge() {},
      isPending: () => false,
      clearPending() {},
    },
    trace: (event) => {
      if (event.name === 'kvm_entry' && event.intr_info !== 0) injected.push(event.intr_info as number);
    },
  });
  const unusable = Object.fromEntries(['DS', 'ES', 'FS', 'GS', 'LDTR'].map((n) => [`GUEST_${n}_AR_BYTES`, 0x1_0000]));
  vcpu.reset({
    fields: {
      ...unusable,
      GUEST_RIP: CODE,
      GUEST_RSP: 0x5f00,
      GUEST_CS_LIMIT: 0xffff_ffff,
      GUEST_CS_AR_BYTES: 0xa09b,
      GUEST_SS_AR_BYTES: 0xc093,
      GUEST_TR_AR_BYTES: 0x8b,
      GUEST_CR0: 0x8000_0031,
      GUEST_CR3: 0x1000,
      GUEST_CR4: 0x2020,
      GUEST_IA32_EFER: 0x500,
      ...fields,
    },
  });
  return { vcpu, vm, outcome: vcpu.run({ entriesMax: 1000 }), written, injected };
}
