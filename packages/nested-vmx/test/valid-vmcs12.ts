import { accessRights, cr0, cr4, efer, field, procBased, secondary, Vmcs, vmEntry, vmExit } from '@nvmx/vmx-fields';
import { controlCapabilities } from '../src/index.ts';

const EPTP = 0x0030_0000 | (3 << 3) | 6;

/** A vmcs12 of a 64-bit L2 that keeps every rule of VM entry. Tests break one rule each. */
export function validVmcs12(): Vmcs {
  const vmcs12 = new Vmcs();
  vmcs12.write32(field.PIN_BASED_VM_EXEC_CONTROL, controlCapabilities.pinBased.low);
  vmcs12.write32(
    field.CPU_BASED_VM_EXEC_CONTROL,
    controlCapabilities.procBased.low | procBased.CPU_BASED_ACTIVATE_SECONDARY_CONTROLS,
  );
  vmcs12.write32(field.SECONDARY_VM_EXEC_CONTROL, secondary.SECONDARY_EXEC_ENABLE_EPT);
  vmcs12.write32(field.VM_EXIT_CONTROLS, controlCapabilities.vmExit.low | vmExit.VM_EXIT_HOST_ADDR_SPACE_SIZE);
  vmcs12.write32(field.VM_ENTRY_CONTROLS, controlCapabilities.vmEntry.low | vmEntry.VM_ENTRY_IA32E_MODE);
  vmcs12.write64(field.EPT_POINTER, EPTP, 0);
  const c0 = cr0.PE | cr0.NE | cr0.ET | cr0.PG;
  const c4 = cr4.PAE | cr4.VMXE;
  for (const side of ['HOST', 'GUEST'] as const) {
    vmcs12.write64(field[`${side}_CR0`], c0, 0);
    vmcs12.write64(field[`${side}_CR4`], c4, 0);
    vmcs12.write64(field[`${side}_CR3`], 0x1000, 0);
    vmcs12.write32(field[`${side}_CS_SELECTOR`], 0x10);
    vmcs12.write32(field[`${side}_TR_SELECTOR`], 0x20);
    vmcs12.write64(field[`${side}_RIP`], 0x10_0000, 0);
  }
  vmcs12.write64(field.GUEST_RFLAGS, 2, 0);
  vmcs12.write32(field.GUEST_CS_AR_BYTES, accessRights.L | accessRights.P | accessRights.S | 0xb);
  vmcs12.write64(field.GUEST_IA32_EFER, efer.LME | efer.LMA, 0);
  vmcs12.write64(field.VMCS_LINK_POINTER, 0xffff_ffff, 0xffff_ffff);
  return vmcs12;
}
