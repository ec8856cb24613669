import {
  bigHigh,
  bigLow,
  cr0,
  efer,
  featureControl,
  field,
  isCanonicalPair,
  msr,
  pairToBig,
  vmEntry,
} from '@nvmx/vmx-fields';
import { capabilityMsrs } from '../capabilities.ts';
import { clearControl, setControl } from '../controls.ts';
import { isPat } from '../pat.ts';
import type { Vcpu } from '../vcpu/vcpu.ts';

/** Locked and with VMX outside SMX, as firmware leaves it. */
const FEATURE_CONTROL_RESET = BigInt(featureControl.LOCKED | featureControl.VMX_OUTSIDE_SMX);
const X2APIC_FIRST = 0x800;
const X2APIC_LAST = 0x8ff;
const ALLOWED_EFER = BigInt(efer.SCE | efer.LME | efer.LMA | efer.NXE);
const FEATURE_CONTROL_BITS = BigInt(
  featureControl.LOCKED | featureControl.VMX_INSIDE_SMX | featureControl.VMX_OUTSIDE_SMX,
);
/** Fast-string operations, as firmware leaves IA32_MISC_ENABLE. */
const MISC_ENABLE_RESET = 1n;

/** How L0 carries out RDMSR and WRMSR of one register. `undefined` and false mean #GP(0). */
interface MsrRow {
  read(vcpu: Vcpu): bigint | undefined;
  write(vcpu: Vcpu, value: bigint): boolean;
}

/** A register that a guest-state field of the VMCS in use holds. */
const inVmcs = (word: number, isValid: (value: bigint) => boolean = () => true): MsrRow => ({
  read: (vcpu) => vcpu.vmcs.readBig(word),
  write: (vcpu, value) => {
    if (!isValid(value)) return false;
    vcpu.vmcs.writeBig(word, value);
    return true;
  },
});

/** A register that the processor keeps beside the VMCS. */
const inProcessor = (index: number, isValid: (value: bigint) => boolean = () => true): MsrRow => ({
  read: (vcpu) => vcpu.processor.readMsr(index),
  write: (vcpu, value) => {
    if (!isValid(value)) return false;
    vcpu.processor.writeMsr(index, value);
    return true;
  },
});

const isCanonical = (value: bigint): boolean => isCanonicalPair(Number(value >> 32n), { addressBits: 48 });
const fitsLow = (value: bigint): boolean => value >> 32n === 0n;

const rows: ReadonlyMap<number, MsrRow> = new Map<number, MsrRow>([
  [msr.IA32_TIME_STAMP_COUNTER, { read: (vcpu) => vcpu.timeStampCounter(vcpu.vmcs), write: writeTimeStampCounter }],
  [msr.IA32_FEATURE_CONTROL, { read: (vcpu) => vcpu.msrs.featureControl, write: writeFeatureControl }],
  [msr.IA32_MISC_ENABLE, { read: () => MISC_ENABLE_RESET, write: (_vcpu, value) => value === MISC_ENABLE_RESET }],
  [msr.IA32_SYSENTER_CS, inVmcs(field.GUEST_SYSENTER_CS, fitsLow)],
  [msr.IA32_SYSENTER_ESP, inVmcs(field.GUEST_SYSENTER_ESP, isCanonical)],
  [msr.IA32_SYSENTER_EIP, inVmcs(field.GUEST_SYSENTER_EIP, isCanonical)],
  [msr.IA32_DEBUGCTL, inVmcs(field.GUEST_IA32_DEBUGCTL, (value) => value === 0n)],
  [msr.IA32_PAT, inVmcs(field.GUEST_IA32_PAT, (value) => isPat(bigLow(value), bigHigh(value)))],
  [msr.IA32_EFER, { read: (vcpu) => vcpu.vmcs.readBig(field.GUEST_IA32_EFER), write: writeEfer }],
  [msr.IA32_FS_BASE, inVmcs(field.GUEST_FS_BASE, isCanonical)],
  [msr.IA32_GS_BASE, inVmcs(field.GUEST_GS_BASE, isCanonical)],
  [msr.IA32_KERNEL_GS_BASE, inProcessor(msr.IA32_KERNEL_GS_BASE, isCanonical)],
  [msr.IA32_STAR, inProcessor(msr.IA32_STAR)],
  [msr.IA32_LSTAR, inProcessor(msr.IA32_LSTAR, isCanonical)],
  [msr.IA32_CSTAR, inProcessor(msr.IA32_CSTAR, isCanonical)],
  [msr.IA32_FMASK, inProcessor(msr.IA32_FMASK, fitsLow)],
  [msr.IA32_TSC_AUX, inProcessor(msr.IA32_TSC_AUX, fitsLow)],
]);

function writeTimeStampCounter(vcpu: Vcpu, value: bigint): boolean {
  vcpu.adjustTimeStampCounter(value - vcpu.timeStampCounter(vcpu.vmcs));
  return true;
}

/** Locked once, the register takes no more writes. */
function writeFeatureControl(vcpu: Vcpu, value: bigint): boolean {
  const locked = (vcpu.msrs.featureControl & BigInt(featureControl.LOCKED)) !== 0n;
  if (locked || (value & ~FEATURE_CONTROL_BITS) !== 0n) return false;
  vcpu.msrs.featureControl = value;
  return true;
}

/** LMA follows LME and CR0.PG; LME may not change while paging is on. */
function writeEfer(vcpu: Vcpu, value: bigint): boolean {
  if ((value & ~ALLOWED_EFER) !== 0n) return false;
  const { vmcs } = vcpu;
  const before = vmcs.read32(field.GUEST_IA32_EFER);
  const paging = (vmcs.read32(field.GUEST_CR0) & cr0.PG) !== 0;
  const after = Number(value);
  if (paging && ((before ^ after) & efer.LME) !== 0) return false;
  const longMode = paging && (after & efer.LME) !== 0;
  vmcs.write64(field.GUEST_IA32_EFER, longMode ? after | efer.LMA : after & ~efer.LMA, 0);
  if (longMode) setControl(vmcs, field.VM_ENTRY_CONTROLS, vmEntry.VM_ENTRY_IA32E_MODE);
  else clearControl(vmcs, field.VM_ENTRY_CONTROLS, vmEntry.VM_ENTRY_IA32E_MODE);
  return true;
}

/** Registers that the processor keeps beside the VMCS. */
const processorMsrs = [
  msr.IA32_KERNEL_GS_BASE,
  msr.IA32_STAR,
  msr.IA32_LSTAR,
  msr.IA32_CSTAR,
  msr.IA32_FMASK,
  msr.IA32_TSC_AUX,
] as const;

/** The model-specific registers of one vCPU whose accesses exit to L0. */
export class Msrs {
  readonly #vcpu: Vcpu;
  featureControl = FEATURE_CONTROL_RESET;

  constructor(vcpu: Vcpu) {
    this.#vcpu = vcpu;
  }

  /** Power-on: what the VMCS does not hold. */
  reset(): void {
    this.featureControl = FEATURE_CONTROL_RESET;
    for (const index of processorMsrs) this.#vcpu.processor.writeMsr(index, 0n);
  }

  /** `undefined`: RDMSR raises #GP(0). */
  read(index: number): bigint | undefined {
    if (isApicMsr(index)) return this.#vcpu.apic.readMsr(index);
    const capability = capabilityMsrs.get(index);
    if (capability !== undefined) return pairToBig(capability.low, capability.high);
    return rows.get(index)?.read(this.#vcpu) ?? this.#vcpu.hyperv.readMsr(index);
  }

  /** False: WRMSR raises #GP(0). */
  write(index: number, value: bigint): boolean {
    if (isApicMsr(index)) return this.#vcpu.apic.writeMsr(index, value);
    const row = rows.get(index);
    return row === undefined ? this.#vcpu.hyperv.writeMsr(index, value) : row.write(this.#vcpu, value);
  }
}

const isApicMsr = (index: number): boolean =>
  index === msr.IA32_APIC_BASE || (index >= X2APIC_FIRST && index <= X2APIC_LAST);
