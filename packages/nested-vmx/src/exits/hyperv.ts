import { isAddress } from '@nvmx/guest-memory';
import { msr, vpAssistPage } from '@nvmx/vmx-fields';
import type { Vcpu } from '../vcpu/vcpu.ts';
import type { CpuidResult } from './cpuid.ts';

const ENABLE = 1n;
const PAGE_MASK = ~0xfffn;
const PAGE_BYTES = 4096n;
/** HV_X64_MSR_VP_INDEX. */
const VP_INDEX = 0x4000_0002;
/** `vmcall; ret`, what the hypercall page holds on Intel processors. */
const HYPERCALL_CODE = Uint8Array.of(0x0f, 0x01, 0xc1, 0xc3);

const LEAF_FIRST = 0x4000_0000;
const LEAF_LAST = 0x4000_000a;
/** "Hv#1": the interface of the Hyper-V TLFS. */
const INTERFACE_SIGNATURE = 0x3123_7648;
const VENDOR = { ebx: 0x786d_766e, ecx: 0x2030_4c20, edx: 0x7648_2020 } as const;
/** Partition may use the interrupt-control, hypercall and VP-index registers. */
const PRIVILEGES = (1 << 4) | (1 << 5) | (1 << 6);
const RECOMMENDS_ENLIGHTENED_VMCS = 1 << 14;
/** Versions 1 to 1, and the MSR-bitmap enlightenment. */
const NESTED_FEATURES = 0x0101 | (1 << 19);

/** The part of the Hyper-V interface that an enlightened L1 needs for its VMCS (Hyper-V TLFS, "Nested Virtualization"). */
export class HypervInterface {
  readonly #vcpu: Vcpu;
  #guestOsId = 0n;
  #hypercall = 0n;
  #vpAssistPage = 0n;

  constructor(vcpu: Vcpu) {
    this.#vcpu = vcpu;
  }

  /** `undefined` for a register that is not the interface's. */
  readMsr(index: number): bigint | undefined {
    switch (index) {
      case msr.HV_X64_MSR_GUEST_OS_ID:
        return this.#guestOsId;
      case msr.HV_X64_MSR_HYPERCALL:
        return this.#hypercall;
      case msr.HV_X64_MSR_VP_ASSIST_PAGE:
        return this.#vpAssistPage;
      case VP_INDEX:
        return BigInt(this.#vcpu.id);
      default:
        return undefined;
    }
  }

  /** False: #GP(0). */
  writeMsr(index: number, value: bigint): boolean {
    switch (index) {
      case msr.HV_X64_MSR_GUEST_OS_ID:
        this.#guestOsId = value;
        if (value === 0n) this.#hypercall &= ~ENABLE;
        return true;
      case msr.HV_X64_MSR_HYPERCALL:
        return this.#enableHypercalls(value);
      case msr.HV_X64_MSR_VP_ASSIST_PAGE:
        return this.#enableVpAssistPage(value);
      default:
        return false;
    }
  }

  /** The enlightened VMCS that L1 wants the next entry to use, `undefined` when it wants an ordinary one. */
  currentNestedVmcs(): bigint | undefined {
    if ((this.#vpAssistPage & ENABLE) === 0n) return undefined;
    const bytes = new Uint8Array(vpAssistPage.current_nested_vmcs.offset + vpAssistPage.current_nested_vmcs.bytes);
    if (!this.#vcpu.memory.copyFrom(Number(this.#vpAssistPage & PAGE_MASK), bytes)) return undefined;
    const page = new DataView(bytes.buffer);
    if (page.getUint8(vpAssistPage.enlighten_vmentry.offset) === 0) return undefined;
    return page.getBigUint64(vpAssistPage.current_nested_vmcs.offset, true);
  }

  reset(): void {
    this.#guestOsId = 0n;
    this.#hypercall = 0n;
    this.#vpAssistPage = 0n;
  }

  /** Without an operating-system identity the page stays disabled. */
  #enableHypercalls(value: bigint): boolean {
    if (this.#guestOsId === 0n) return true;
    const page = value & PAGE_MASK;
    if ((value & ENABLE) !== 0n) {
      if (!isAddress(page + PAGE_BYTES) || !this.#vcpu.memory.copyTo(Number(page), HYPERCALL_CODE)) return false;
    }
    this.#hypercall = value;
    return true;
  }

  /** Enabling clears the APIC-assist word. */
  #enableVpAssistPage(value: bigint): boolean {
    const page = value & PAGE_MASK;
    if ((value & ENABLE) !== 0n) {
      const word = new Uint8Array(vpAssistPage.apic_assist.bytes);
      if (!isAddress(page + PAGE_BYTES) || !this.#vcpu.memory.copyTo(Number(page), word)) return false;
    }
    this.#vpAssistPage = value;
    return true;
  }
}

const NOTHING: CpuidResult = { eax: 0, ebx: 0, ecx: 0, edx: 0 };

/** CPUID leaves 0x40000000 to 0x4000000a, `undefined` for all others. */
export function hypervCpuid(leaf: number): CpuidResult | undefined {
  if (leaf < LEAF_FIRST || leaf > LEAF_LAST) return undefined;
  switch (leaf & 0xff) {
    case 0x0:
      return { eax: LEAF_LAST, ...VENDOR };
    case 0x1:
      return { ...NOTHING, eax: INTERFACE_SIGNATURE };
    case 0x3:
      return { ...NOTHING, eax: PRIVILEGES };
    case 0x4:
      return { ...NOTHING, eax: RECOMMENDS_ENLIGHTENED_VMCS };
    case 0xa:
      return { ...NOTHING, eax: NESTED_FEATURES };
    default:
      return NOTHING;
  }
}
