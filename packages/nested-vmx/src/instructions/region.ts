import { decodeVmcs12, encodeVmcs12, VMCS12_BYTES, VMCS12_REVISION } from '@nvmx/vmx-fields';
import { isAligned, NO_PHYSICAL_ADDRESS, PHYSICAL_ADDRESS_END } from '../mmu/physical-address.ts';
import { dirtyGroup } from '../nested/nested-state.ts';
import type { Vcpu } from '../vcpu/vcpu.ts';

const PAGE_BYTES = 4096;

/** A pointer to a VMCS or VMXON region: page-aligned and within the physical-address width. */
export function pageAddress(pointer: bigint): number | undefined {
  if (pointer >= BigInt(PHYSICAL_ADDRESS_END)) return undefined;
  const address = Number(pointer);
  return isAligned(address, PAGE_BYTES) ? address : undefined;
}

/** The first word of a region: revision identifier and shadow-VMCS indicator. -1 where no memory is. */
export function revisionAt(vcpu: Vcpu, address: number): number {
  const bytes = new Uint8Array(4);
  if (!vcpu.memory.copyFrom(address, bytes)) return -1;
  return new DataView(bytes.buffer).getUint32(0, true);
}

/** Writes the current vmcs12 back into L1's memory; no VMCS is current afterwards (nested_release_vmcs12()). */
export function releaseVmcs12(vcpu: Vcpu): void {
  const { nested } = vcpu;
  if (nested.currentVmptr === NO_PHYSICAL_ADDRESS) return;
  const region = new Uint8Array(VMCS12_BYTES);
  const header = { revision: VMCS12_REVISION, shadow: false, abort: 0, launchState: nested.launched ? 1 : 0 };
  encodeVmcs12(nested.vmcs12, header, region);
  vcpu.memory.copyTo(nested.currentVmptr, region);
  nested.currentVmptr = NO_PHYSICAL_ADDRESS;
}

/** Reads the VMCS at `address` and makes it current. False: no memory, or a revision that is not L0's. */
export function loadVmcs12(vcpu: Vcpu, address: number): boolean {
  const { nested } = vcpu;
  const region = new Uint8Array(VMCS12_BYTES);
  if (!vcpu.memory.copyFrom(address, region)) return false;
  const revision = new DataView(region.buffer).getUint32(0, true);
  if (revision !== VMCS12_REVISION) return false;
  releaseVmcs12(vcpu);
  nested.launched = decodeVmcs12(region, nested.vmcs12).launchState !== 0;
  nested.currentVmptr = address;
  nested.dirty = dirtyGroup.all;
  return true;
}
