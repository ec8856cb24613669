import {
  accessRights,
  activityState,
  cr0,
  cr4,
  efer,
  evmcsControls,
  field,
  interruptionInfo,
  isCanonicalPair,
  pinBased,
  procBased,
  rflags,
  secondary,
  type Vmcs,
  vmEntry,
  vmEntryFailure,
  vmExit,
} from '@nvmx/vmx-fields';
import { controlCapabilities, fixedBits } from '../capabilities.ts';
import { hasControl, hasPin, hasProc, hasSecondary } from '../controls.ts';
import { isAligned, PHYSICAL_ADDRESS_BITS, PHYSICAL_ADDRESS_END, physicalAddress } from '../mmu/physical-address.ts';
import { isPat } from '../pat.ts';
import { isValidEvent, vectorOf } from '../vcpu/event-info.ts';
import { entryLoadList, exitLoadList, exitStoreList, isValidMsrList, type MsrList } from './msr-lists.ts';

const PAGE_BYTES = 4096;
const DESCRIPTOR_BYTES = 64;
const EPTP_WRITE_BACK = 6;
const EPTP_RESERVED_LOW = 0xf80;
const EPTP_AD = 0x40;
const SELECTOR_RPL_TI = 7;
const ALL_ONES = 0xffff_ffff;
const TPR_THRESHOLD_RESERVED = ~0xf;

/** One rule of VM entry: the SDM's section, and whether vmcs12 keeps it. */
export interface EntryCheck {
  readonly id: string;
  /** SDM volume 3, name of the section that states the rule. */
  readonly section: string;
  holds(vmcs12: Vmcs): boolean;
  /** Exit qualification of a failed rule on guest state; 0 unless said otherwise. */
  readonly qualification?: number;
}

const EXECUTION = 'VM-Execution Control Fields';
const EXIT = 'VM-Exit Control Fields';
const ENTRY = 'VM-Entry Control Fields';
const HOST_REGISTERS = 'Checks on Host Control Registers, MSRs, and SSP';
const HOST_SEGMENTS = 'Checks on Host Segment and Descriptor-Table Registers';
const ADDRESS_SPACE = 'Checks Related to Address-Space Size';
const GUEST_REGISTERS = 'Checks on Guest Control Registers, Debug Registers, and MSRs';
const GUEST_RIP_FLAGS = 'Checks on Guest RIP, RFLAGS, and SSP';
const GUEST_NON_REGISTER = 'Checks on Guest Non-Register State';

const allows = (word: number, o: { readonly low: number; readonly high: number }) => (vmcs12: Vmcs) => {
  const value = vmcs12.read32(word);
  return (value & o.low) >>> 0 === o.low && (value & ~o.high) === 0;
};

/** An address field that must be aligned and within the physical-address width while `isUsed` says so. */
const addresses = (word: number, bytes: number, isUsed: (vmcs12: Vmcs) => boolean) => (vmcs12: Vmcs) => {
  if (!isUsed(vmcs12)) return true;
  const address = physicalAddress(vmcs12.words[word], vmcs12.words[word + 1]);
  return address !== undefined && isAligned(address, bytes);
};

const canonical = (word: number) => (vmcs12: Vmcs) => isCanonicalPair(vmcs12.words[word + 1], { addressBits: 48 });
const high = (vmcs12: Vmcs, word: number): number => vmcs12.words[word + 1];
const proc = (mask: number) => (vmcs12: Vmcs) => hasProc(vmcs12, mask);
const pin = (mask: number) => (vmcs12: Vmcs) => hasPin(vmcs12, mask);
const second = (mask: number) => (vmcs12: Vmcs) => hasSecondary(vmcs12, mask);
const entry = (mask: number) => (vmcs12: Vmcs) => hasControl(vmcs12, field.VM_ENTRY_CONTROLS, mask);
const exit = (mask: number) => (vmcs12: Vmcs) => hasControl(vmcs12, field.VM_EXIT_CONTROLS, mask);
const implies = (premise: (v: Vmcs) => boolean, then: (v: Vmcs) => boolean) => (v: Vmcs) => !premise(v) || then(v);
const both = (a: (v: Vmcs) => boolean, b: (v: Vmcs) => boolean) => (v: Vmcs) => a(v) && b(v);
const not = (a: (v: Vmcs) => boolean) => (v: Vmcs) => !a(v);

const msrList = (list: MsrList) => (v: Vmcs) => isValidMsrList(v, list, PHYSICAL_ADDRESS_END);

const tprShadow = proc(procBased.CPU_BASED_TPR_SHADOW);
const virtualInterruptDelivery = second(secondary.SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY);
const x2apicMode = second(secondary.SECONDARY_EXEC_VIRTUALIZE_X2APIC_MODE);
const postedInterrupts = pin(pinBased.PIN_BASED_POSTED_INTR);
const ia32eGuest = entry(vmEntry.VM_ENTRY_IA32E_MODE);
const host64 = exit(vmExit.VM_EXIT_HOST_ADDR_SPACE_SIZE);

/** Failures are VMfailValid with error 7. */
export const controlChecks: readonly EntryCheck[] = [
  {
    id: 'pin-based-reserved',
    section: EXECUTION,
    holds: allows(field.PIN_BASED_VM_EXEC_CONTROL, controlCapabilities.pinBased),
  },
  {
    id: 'proc-based-reserved',
    section: EXECUTION,
    holds: allows(field.CPU_BASED_VM_EXEC_CONTROL, controlCapabilities.procBased),
  },
  {
    id: 'secondary-reserved',
    section: EXECUTION,
    holds: implies(
      proc(procBased.CPU_BASED_ACTIVATE_SECONDARY_CONTROLS),
      allows(field.SECONDARY_VM_EXEC_CONTROL, controlCapabilities.secondary),
    ),
  },
  { id: 'cr3-target-count', section: EXECUTION, holds: (v) => v.read32(field.CR3_TARGET_COUNT) === 0 },
  {
    id: 'io-bitmap-a',
    section: EXECUTION,
    holds: addresses(field.IO_BITMAP_A, PAGE_BYTES, proc(procBased.CPU_BASED_USE_IO_BITMAPS)),
  },
  {
    id: 'io-bitmap-b',
    section: EXECUTION,
    holds: addresses(field.IO_BITMAP_B, PAGE_BYTES, proc(procBased.CPU_BASED_USE_IO_BITMAPS)),
  },
  {
    id: 'msr-bitmap',
    section: EXECUTION,
    holds: addresses(field.MSR_BITMAP, PAGE_BYTES, proc(procBased.CPU_BASED_USE_MSR_BITMAPS)),
  },
  {
    id: 'virtual-apic-page',
    section: EXECUTION,
    holds: addresses(field.VIRTUAL_APIC_PAGE_ADDR, PAGE_BYTES, tprShadow),
  },
  {
    id: 'tpr-threshold',
    section: EXECUTION,
    holds: implies(
      both(tprShadow, not(virtualInterruptDelivery)),
      (v) => (v.read32(field.TPR_THRESHOLD) & TPR_THRESHOLD_RESERVED) === 0,
    ),
  },
  {
    id: 'needs-tpr-shadow',
    section: EXECUTION,
    holds: (v) =>
      tprShadow(v) ||
      !(x2apicMode(v) || virtualInterruptDelivery(v) || second(secondary.SECONDARY_EXEC_APIC_REGISTER_VIRT)(v)),
  },
  {
    id: 'x2apic-mode-excludes-apic-accesses',
    section: EXECUTION,
    holds: not(both(x2apicMode, second(secondary.SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES))),
  },
  {
    id: 'apic-access-page',
    section: EXECUTION,
    holds: addresses(field.APIC_ACCESS_ADDR, PAGE_BYTES, second(secondary.SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES)),
  },
  {
    id: 'virtual-interrupt-delivery-needs-external-interrupt-exiting',
    section: EXECUTION,
    holds: implies(virtualInterruptDelivery, pin(pinBased.PIN_BASED_EXT_INTR_MASK)),
  },
  {
    id: 'posted-interrupts-need-virtual-interrupt-delivery',
    section: EXECUTION,
    holds: implies(postedInterrupts, both(virtualInterruptDelivery, exit(vmExit.VM_EXIT_ACK_INTR_ON_EXIT))),
  },
  {
    id: 'posted-interrupt-vector',
    section: EXECUTION,
    holds: implies(postedInterrupts, (v) => v.read32(field.POSTED_INTR_NV) <= 0xff),
  },
  {
    id: 'posted-interrupt-descriptor',
    section: EXECUTION,
    holds: addresses(field.POSTED_INTR_DESC_ADDR, DESCRIPTOR_BYTES, postedInterrupts),
  },
  {
    id: 'vpid',
    section: EXECUTION,
    holds: implies(second(secondary.SECONDARY_EXEC_ENABLE_VPID), (v) => v.read32(field.VIRTUAL_PROCESSOR_ID) !== 0),
  },
  { id: 'eptp', section: EXECUTION, holds: implies(second(secondary.SECONDARY_EXEC_ENABLE_EPT), isValidEptp) },
  { id: 'vm-exit-reserved', section: EXIT, holds: allows(field.VM_EXIT_CONTROLS, controlCapabilities.vmExit) },
  { id: 'vm-exit-msr-store-list', section: EXIT, holds: msrList(exitStoreList) },
  { id: 'vm-exit-msr-load-list', section: EXIT, holds: msrList(exitLoadList) },
  { id: 'vm-entry-reserved', section: ENTRY, holds: allows(field.VM_ENTRY_CONTROLS, controlCapabilities.vmEntry) },
  { id: 'vm-entry-msr-load-list', section: ENTRY, holds: msrList(entryLoadList) },
  { id: 'vm-entry-event', section: ENTRY, holds: isValidEntryEvent },
];

const TLFS = 'Hyper-V TLFS, Nested Virtualization';

/** A control word has only bits that an enlightened VMCS can carry, besides those that must be 1. */
const carries = (word: number, supported: number, o: { readonly low: number }) => (vmcs12: Vmcs) =>
  (vmcs12.read32(word) & ~(supported | o.low)) === 0;

/** Rules that an enlightened VMCS adds: it has no field for what these controls need. VMfailValid with error 7. */
export const enlightenedControlChecks: readonly EntryCheck[] = [
  {
    id: 'enlightened-pin-based',
    section: TLFS,
    holds: carries(field.PIN_BASED_VM_EXEC_CONTROL, evmcsControls.pinBased, controlCapabilities.pinBased),
  },
  {
    id: 'enlightened-proc-based',
    section: TLFS,
    holds: carries(field.CPU_BASED_VM_EXEC_CONTROL, evmcsControls.procBased, controlCapabilities.procBased),
  },
  {
    id: 'enlightened-secondary',
    section: TLFS,
    holds: implies(
      proc(procBased.CPU_BASED_ACTIVATE_SECONDARY_CONTROLS),
      carries(field.SECONDARY_VM_EXEC_CONTROL, evmcsControls.secondary, controlCapabilities.secondary),
    ),
  },
  {
    id: 'enlightened-vm-exit',
    section: TLFS,
    holds: carries(field.VM_EXIT_CONTROLS, evmcsControls.vmExit, controlCapabilities.vmExit),
  },
  {
    id: 'enlightened-vm-entry',
    section: TLFS,
    holds: carries(field.VM_ENTRY_CONTROLS, evmcsControls.vmEntry, controlCapabilities.vmEntry),
  },
];

function isValidEptp(vmcs12: Vmcs): boolean {
  const low = vmcs12.read32(field.EPT_POINTER);
  const walkLength = (low >>> 3) & 7;
  return (
    (low & 7) === EPTP_WRITE_BACK &&
    walkLength === 3 &&
    (low & (EPTP_RESERVED_LOW | EPTP_AD)) === 0 &&
    physicalAddress(low, high(vmcs12, field.EPT_POINTER)) !== undefined
  );
}

/** SDM volume 3, "VM-Entry Control Fields": the rules on event injection. */
function isValidEntryEvent(vmcs12: Vmcs): boolean {
  const info = vmcs12.read32(field.VM_ENTRY_INTR_INFO_FIELD);
  if (!isValidEvent(info)) return true;
  const type = (info >>> 8) & 7;
  const vector = vectorOf(info);
  if ((info & 0x7fff_f000) !== 0 || type === 1 || type === 7) return false;
  if (type === 2 && vector !== 2) return false;
  if (type === 3 && vector > 31) return false;
  const wantsCode = type === 3 && hasErrorCode(vector) && (vmcs12.read32(field.GUEST_CR0) & cr0.PE) !== 0;
  if (((info & interruptionInfo.ERROR_CODE) !== 0) !== wantsCode) return false;
  if (wantsCode && (vmcs12.read32(field.VM_ENTRY_EXCEPTION_ERROR_CODE) & 0xffff_0000) !== 0) return false;
  const bytes = vmcs12.read32(field.VM_ENTRY_INSTRUCTION_LEN);
  return type < 4 || (bytes >= 1 && bytes <= 15);
}

const VECTORS_WITH_ERROR_CODE = 0x0022_7d00;
const hasErrorCode = (vector: number): boolean => ((VECTORS_WITH_ERROR_CODE >>> vector) & 1) === 1;

const selector = (word: number) => (v: Vmcs) => (v.read32(word) & SELECTOR_RPL_TI) === 0;

/** Failures are VMfailValid with error 8. */
export const hostStateChecks: readonly EntryCheck[] = [
  { id: 'host-cr0', section: HOST_REGISTERS, holds: fixed(field.HOST_CR0, fixedBits.cr0) },
  { id: 'host-cr4', section: HOST_REGISTERS, holds: fixed(field.HOST_CR4, fixedBits.cr4) },
  { id: 'host-cr3', section: HOST_REGISTERS, holds: (v) => isPhysical(v, field.HOST_CR3) },
  { id: 'host-sysenter-esp', section: HOST_REGISTERS, holds: canonical(field.HOST_IA32_SYSENTER_ESP) },
  { id: 'host-sysenter-eip', section: HOST_REGISTERS, holds: canonical(field.HOST_IA32_SYSENTER_EIP) },
  {
    id: 'host-efer',
    section: HOST_REGISTERS,
    holds: implies(exit(vmExit.VM_EXIT_LOAD_IA32_EFER), (v) =>
      isValidEfer(v, { word: field.HOST_IA32_EFER, longMode: host64(v) }),
    ),
  },
  {
    id: 'host-pat',
    section: HOST_REGISTERS,
    holds: implies(exit(vmExit.VM_EXIT_LOAD_IA32_PAT), (v) =>
      isPat(v.read32(field.HOST_IA32_PAT), high(v, field.HOST_IA32_PAT)),
    ),
  },
  { id: 'host-selectors', section: HOST_SEGMENTS, holds: (v) => hostSelectors.every((word) => selector(word)(v)) },
  { id: 'host-cs', section: HOST_SEGMENTS, holds: (v) => v.read32(field.HOST_CS_SELECTOR) !== 0 },
  { id: 'host-tr', section: HOST_SEGMENTS, holds: (v) => v.read32(field.HOST_TR_SELECTOR) !== 0 },
  { id: 'host-bases', section: HOST_SEGMENTS, holds: (v) => hostBases.every((word) => canonical(word)(v)) },
  { id: 'host-address-space-size', section: ADDRESS_SPACE, holds: host64 },
  { id: 'host-pae', section: ADDRESS_SPACE, holds: (v) => (v.read32(field.HOST_CR4) & cr4.PAE) !== 0 },
  { id: 'host-rip', section: ADDRESS_SPACE, holds: canonical(field.HOST_RIP) },
];

const hostSelectors = [
  field.HOST_ES_SELECTOR,
  field.HOST_CS_SELECTOR,
  field.HOST_SS_SELECTOR,
  field.HOST_DS_SELECTOR,
  field.HOST_FS_SELECTOR,
  field.HOST_GS_SELECTOR,
  field.HOST_TR_SELECTOR,
];

const hostBases = [
  field.HOST_FS_BASE,
  field.HOST_GS_BASE,
  field.HOST_TR_BASE,
  field.HOST_GDTR_BASE,
  field.HOST_IDTR_BASE,
];

function fixed(word: number, o: { readonly mustBeOne: number; readonly mayBeOne: number }): (v: Vmcs) => boolean {
  return (v) =>
    (v.read32(word) & o.mustBeOne) >>> 0 === o.mustBeOne && (v.read32(word) & ~o.mayBeOne) === 0 && high(v, word) === 0;
}

function isPhysical(v: Vmcs, word: number): boolean {
  return high(v, word) < 2 ** (PHYSICAL_ADDRESS_BITS - 32);
}

function isValidEfer(v: Vmcs, o: { readonly word: number; readonly longMode: boolean }): boolean {
  const value = v.read32(o.word);
  const known = efer.SCE | efer.LME | efer.LMA | efer.NXE;
  if ((value & ~known) !== 0 || high(v, o.word) !== 0) return false;
  const lma = (value & efer.LMA) !== 0;
  return lma === o.longMode && lma === ((value & efer.LME) !== 0);
}

/** Failures are VM exits with reason 33 and bit 31. */
export const guestStateChecks: readonly EntryCheck[] = [
  { id: 'guest-cr0', section: GUEST_REGISTERS, holds: fixed(field.GUEST_CR0, fixedBits.cr0) },
  { id: 'guest-cr4', section: GUEST_REGISTERS, holds: fixed(field.GUEST_CR4, fixedBits.cr4) },
  { id: 'guest-cr3', section: GUEST_REGISTERS, holds: (v) => isPhysical(v, field.GUEST_CR3) },
  {
    id: 'guest-ia32e-mode',
    section: GUEST_REGISTERS,
    holds: implies(ia32eGuest, (v) => (v.read32(field.GUEST_CR4) & cr4.PAE) !== 0),
  },
  {
    id: 'guest-dr7',
    section: GUEST_REGISTERS,
    holds: implies(entry(vmEntry.VM_ENTRY_LOAD_DEBUG_CONTROLS), (v) => high(v, field.GUEST_DR7) === 0),
  },
  { id: 'guest-sysenter-esp', section: GUEST_REGISTERS, holds: canonical(field.GUEST_SYSENTER_ESP) },
  { id: 'guest-sysenter-eip', section: GUEST_REGISTERS, holds: canonical(field.GUEST_SYSENTER_EIP) },
  {
    id: 'guest-efer',
    section: GUEST_REGISTERS,
    holds: implies(entry(vmEntry.VM_ENTRY_LOAD_IA32_EFER), (v) =>
      isValidEfer(v, { word: field.GUEST_IA32_EFER, longMode: ia32eGuest(v) }),
    ),
  },
  {
    id: 'guest-pat',
    section: GUEST_REGISTERS,
    holds: implies(entry(vmEntry.VM_ENTRY_LOAD_IA32_PAT), (v) =>
      isPat(v.read32(field.GUEST_IA32_PAT), high(v, field.GUEST_IA32_PAT)),
    ),
  },
  { id: 'guest-rflags', section: GUEST_RIP_FLAGS, holds: isValidRflags },
  { id: 'guest-rip', section: GUEST_RIP_FLAGS, holds: isValidRip },
  {
    id: 'guest-activity-state',
    section: GUEST_NON_REGISTER,
    holds: (v) => v.read32(field.GUEST_ACTIVITY_STATE) <= activityState.HLT,
  },
  {
    id: 'guest-link-pointer',
    qualification: vmEntryFailure.VMCS_LINK_POINTER,
    section: GUEST_NON_REGISTER,
    holds: (v) => v.read32(field.VMCS_LINK_POINTER) === ALL_ONES && high(v, field.VMCS_LINK_POINTER) === ALL_ONES,
  },
];

const RFLAGS_RESERVED = 0xffc0_802a;

function isValidRflags(v: Vmcs): boolean {
  const value = v.read32(field.GUEST_RFLAGS);
  if (high(v, field.GUEST_RFLAGS) !== 0 || (value & RFLAGS_RESERVED) !== rflags.FIXED) return false;
  if (ia32eGuest(v) && (value & rflags.VM) !== 0) return false;
  const info = v.read32(field.VM_ENTRY_INTR_INFO_FIELD);
  const injectsInterrupt = isValidEvent(info) && ((info >>> 8) & 7) === 0;
  return !injectsInterrupt || (value & rflags.IF) !== 0;
}

function isValidRip(v: Vmcs): boolean {
  const code64 = ia32eGuest(v) && (v.read32(field.GUEST_CS_AR_BYTES) & accessRights.L) !== 0;
  return code64 ? canonical(field.GUEST_RIP)(v) : high(v, field.GUEST_RIP) === 0;
}

/** The first rule that vmcs12 breaks, in the order of the rows. */
export function firstFailure(checks: readonly EntryCheck[], vmcs12: Vmcs): EntryCheck | undefined {
  for (const check of checks) if (!check.holds(vmcs12)) return check;
  return undefined;
}
