import {
  decodeVmcs12,
  encodeVmcs12,
  exitReason,
  exitReasonName,
  field,
  fieldByEncoding,
  msrBitmapBit,
  VMCS12_REVISION,
  Vmcs,
} from '@nvmx/vmx-fields';

// A VMCS is a typed array; `field.X` is an index into it.
const vmcs = new Vmcs();
vmcs.writeBig(field.GUEST_RIP, 0xffff_8000_0010_0000n);
vmcs.write32(field.VM_EXIT_REASON, exitReason.EPT_VIOLATION);
console.log(exitReasonName(vmcs.read32(field.VM_EXIT_REASON))); // EPT_VIOLATION

// VMREAD and VMWRITE name fields by encoding; an odd one is a high half.
const access = fieldByEncoding(0x2005);
console.log(access?.row.name, access?.high); // MSR_BITMAP true

// The region that L1 provides, byte for byte as KVM lays it out.
const region = new Uint8Array(4096);
encodeVmcs12(vmcs, { revision: VMCS12_REVISION, shadow: false, abort: 0, launchState: 1 }, region);
console.log(decodeVmcs12(region, new Vmcs()).launchState); // 1

console.log(msrBitmapBit(0xc000_0080, 'write')); // 24704
