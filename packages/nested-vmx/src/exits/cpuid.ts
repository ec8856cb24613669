import { cr4, field, type Vmcs } from '@nvmx/vmx-fields';
import { PHYSICAL_ADDRESS_BITS } from '../mmu/physical-address.ts';
import { hypervCpuid } from './hyperv.ts';

/** The four registers that CPUID returns. */
export interface CpuidResult {
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

const NOTHING: CpuidResult = { eax: 0, ebx: 0, ecx: 0, edx: 0 };
const BASIC_LEAF_LAST = 0x16;
const EXTENDED_LEAF_LAST = 0x8000_0008;
const LINEAR_ADDRESS_BITS = 48;
/** Family 6, model 158, stepping 10. */
const SIGNATURE = 0x0009_06ea;

/** Leaf 1, ECX: VMX, CMPXCHG16B, x2APIC, MOVBE is absent, POPCNT is absent; OSXSAVE follows CR4. */
const feature1Ecx = { VMX: 1 << 5, CX16: 1 << 13, X2APIC: 1 << 21, OSXSAVE: 1 << 27, HYPERVISOR: 1 << 31 } as const;
const feature1Edx = {
  DE: 1 << 2,
  PSE: 1 << 3,
  TSC: 1 << 4,
  MSR: 1 << 5,
  PAE: 1 << 6,
  CX8: 1 << 8,
  APIC: 1 << 9,
  SEP: 1 << 11,
  PGE: 1 << 13,
  CMOV: 1 << 15,
  PAT: 1 << 16,
  CLFSH: 1 << 19,
} as const;
const extendedEcx = { LAHF64: 1 << 0 } as const;
const extendedEdx = { SYSCALL: 1 << 11, NX: 1 << 20, PAGE1GB: 1 << 26, RDTSCP: 1 << 27, LM: 1 << 29 } as const;

const all = (bits: Readonly<Record<string, number>>): number => Object.values(bits).reduce((sum, bit) => sum | bit, 0);

/** The vendor string in the register order of leaf 0. */
const vendor = { ebx: 0x756e_6547, edx: 0x4965_6e69, ecx: 0x6c65_746e } as const;

/** What CPUID returns to a guest. Leaves that L0 does not describe read as zeros. */
export function cpuid(o: { readonly leaf: number; readonly apicId: number; readonly vmcs: Vmcs }): CpuidResult {
  switch (o.leaf) {
    case 0:
      return { eax: BASIC_LEAF_LAST, ...vendor };
    case 1:
      return { eax: SIGNATURE, ebx: o.apicId << 24, ecx: featuresOfLeaf1(o.vmcs), edx: all(feature1Edx) };
    case 0x8000_0000:
      return { ...NOTHING, eax: EXTENDED_LEAF_LAST | 0 };
    case 0x8000_0001:
      return { ...NOTHING, ecx: all(extendedEcx), edx: all(extendedEdx) };
    case 0x8000_0008:
      return { ...NOTHING, eax: PHYSICAL_ADDRESS_BITS | (LINEAR_ADDRESS_BITS << 8) };
    default:
      return hypervCpuid(o.leaf) ?? NOTHING;
  }
}

function featuresOfLeaf1(vmcs: Vmcs): number {
  const fixed = feature1Ecx.VMX | feature1Ecx.CX16 | feature1Ecx.X2APIC | feature1Ecx.HYPERVISOR;
  return (vmcs.read32(field.GUEST_CR4) & cr4.OSXSAVE) === 0 ? fixed : fixed | feature1Ecx.OSXSAVE;
}
