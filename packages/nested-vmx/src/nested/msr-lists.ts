import { field, msr, type Vmcs } from '@nvmx/vmx-fields';
import type { Vcpu } from '../vcpu/vcpu.ts';

const ENTRY_BYTES = 16;
const X2APIC_PREFIX = 0x8;
const IA32_SMM_MONITOR_CTL = 0x9b;
/** No register failed. */
const NONE = 0;

/** One of the three MSR lists that a VMCS names (SDM volume 3, "Loading MSRs", "Saving MSRs"). */
export interface MsrList {
  readonly count: number;
  readonly address: number;
}

export const entryLoadList: MsrList = { count: field.VM_ENTRY_MSR_LOAD_COUNT, address: field.VM_ENTRY_MSR_LOAD_ADDR };
export const exitStoreList: MsrList = { count: field.VM_EXIT_MSR_STORE_COUNT, address: field.VM_EXIT_MSR_STORE_ADDR };
export const exitLoadList: MsrList = { count: field.VM_EXIT_MSR_LOAD_COUNT, address: field.VM_EXIT_MSR_LOAD_ADDR };

/** Loads each register of the list into the guest that runs. Returns the 1-based number of the entry that failed, or 0. */
export function loadMsrList(vcpu: Vcpu, list: MsrList): number {
  return eachEntry(vcpu, list, (entry) => {
    const index = entry.getUint32(0, true);
    return isLoadable(index) && entry.getUint32(4, true) === 0 && vcpu.msrs.write(index, entry.getBigUint64(8, true));
  });
}

/** Stores each register of the list into L1's memory. Returns the 1-based number of the entry that failed, or 0. */
export function storeMsrList(vcpu: Vcpu, list: MsrList): number {
  return eachEntry(vcpu, list, (entry, address) => {
    const index = entry.getUint32(0, true);
    if (!isStorable(index) || entry.getUint32(4, true) !== 0) return false;
    const value = storedValue(vcpu, index);
    if (value === undefined) return false;
    entry.setBigUint64(8, value, true);
    return vcpu.memory.copyTo(address + 8, new Uint8Array(entry.buffer, 8, 8));
  });
}

/** The time-stamp counter is stored as L1 counts it, without the offset that L1 gave L2. */
function storedValue(vcpu: Vcpu, index: number): bigint | undefined {
  return index === msr.IA32_TIME_STAMP_COUNTER ? vcpu.timeStampCounter(vcpu.vmcs01) : vcpu.msrs.read(index);
}

function eachEntry(vcpu: Vcpu, list: MsrList, use: (entry: DataView, address: number) => boolean): number {
  const { vmcs12 } = vcpu.nested;
  const count = vmcs12.read32(list.count);
  if (count === 0) return NONE;
  const bytes = new Uint8Array(ENTRY_BYTES);
  const entry = new DataView(bytes.buffer);
  for (let n = 0; n < count; n++) {
    const address = vmcs12.readAddress(list.address) + n * ENTRY_BYTES;
    if (!vcpu.memory.copyFrom(address, bytes) || !use(entry, address)) return n + 1;
  }
  return NONE;
}

/** Bases that the VMCS has fields for, and the x2APIC registers, do not belong in a load list. */
function isLoadable(index: number): boolean {
  return index !== msr.IA32_FS_BASE && index !== msr.IA32_GS_BASE && isStorable(index);
}

function isStorable(index: number): boolean {
  return index >>> 8 !== X2APIC_PREFIX && index !== IA32_SMM_MONITOR_CTL;
}

/** Whether a list lies 16-byte aligned within `addressEnd`; an empty one lies anywhere. */
export function isValidMsrList(vmcs12: Vmcs, list: MsrList, addressEnd: number): boolean {
  const count = vmcs12.read32(list.count);
  if (count === 0) return true;
  const address = vmcs12.words[list.address + 1] * 2 ** 32 + vmcs12.words[list.address];
  return address % ENTRY_BYTES === 0 && address + count * ENTRY_BYTES <= addressEnd;
}
