import { addressHigh, addressLow, efer, type FieldName, field, vmEntry } from '@nvmx/vmx-fields';
import { setControl } from '../controls.ts';
import { freeNested } from '../instructions/operation.ts';
import { controlRegister0, controlRegister4, l0Controls, VPID01 } from '../nested/vmcs02.ts';
import type { Vcpu } from './vcpu.ts';

const ALL_ONES = 0xffff_ffff;
const GPR_COUNT = 16;
const RSP = 4;
const PAT_RESET = 0x0007_0406_0007_0406n;
const RFLAGS_FIXED = 2n;
const DR7_RESET = 0x400n;

/** Registers of L1 at the start. Guest-state fields that are not named are 0; so are general registers. */
export interface ResetState {
  /** Guest-state fields of vmcs01 by name. CR0 and CR4 as L1 is to read them. */
  readonly fields: Partial<Record<FieldName, bigint | number>>;
  /** General registers by number, RSP excepted: it is GUEST_RSP. */
  readonly registers?: Readonly<Record<number, bigint | number>>;
}

/** Builds vmcs01 and clears everything that L1 did before. */
export function resetVcpu(vcpu: Vcpu, state: ResetState): void {
  if (vcpu.nested.vmxOn) freeNested(vcpu);
  vcpu.nested.guestMode = false;
  vcpu.nested.runPending = false;
  vcpu.events.take();
  vcpu.hyperv.reset();
  vcpu.msrs.reset();
  vcpu.processor.setCr2(0, 0);
  vcpu.nested.lastVpid = 0;
  vcpu.vmcs01.clear();
  programControls(vcpu);
  programGuestState(vcpu, state);
  for (let number = 0; number < GPR_COUNT; number++) {
    if (number !== RSP) vcpu.processor.registers.setBig(number, BigInt(state.registers?.[number] ?? 0));
  }
}

function programControls(vcpu: Vcpu): void {
  const { vmcs01, mmu, msrBitmap01 } = vcpu;
  vmcs01.write32(field.PIN_BASED_VM_EXEC_CONTROL, l0Controls.pin);
  vmcs01.write32(field.CPU_BASED_VM_EXEC_CONTROL, l0Controls.proc | l0Controls.procOfL1);
  vmcs01.write32(field.SECONDARY_VM_EXEC_CONTROL, l0Controls.secondary | l0Controls.secondaryOfL1);
  vmcs01.write32(field.VM_EXIT_CONTROLS, l0Controls.exit);
  vmcs01.write32(field.VM_ENTRY_CONTROLS, l0Controls.entry);
  vmcs01.write32(field.VIRTUAL_PROCESSOR_ID, VPID01);
  vmcs01.write64(field.EPT_POINTER, addressLow(mmu.ept01.pointer), addressHigh(mmu.ept01.pointer));
  vmcs01.write64(field.VMCS_LINK_POINTER, ALL_ONES, ALL_ONES);
  msrBitmap01.programInto(vmcs01);
}

function programGuestState(vcpu: Vcpu, state: ResetState): void {
  const { vmcs01 } = vcpu;
  vmcs01.writeBig(field.GUEST_RFLAGS, RFLAGS_FIXED);
  vmcs01.writeBig(field.GUEST_DR7, DR7_RESET);
  vmcs01.writeBig(field.GUEST_IA32_PAT, PAT_RESET);
  for (const [name, value] of Object.entries(state.fields)) vmcs01.writeBig(field[name as FieldName], BigInt(value));
  for (const { guest, mask, shadow, l0Owned, fixed } of [controlRegister0, controlRegister4]) {
    const value = vmcs01.read32(guest);
    vmcs01.write64(shadow, value, 0);
    vmcs01.write64(mask, l0Owned, ALL_ONES);
    vmcs01.write64(guest, value | fixed, 0);
  }
  const longMode = (vmcs01.read32(field.GUEST_IA32_EFER) & efer.LMA) !== 0;
  if (longMode) setControl(vmcs01, field.VM_ENTRY_CONTROLS, vmEntry.VM_ENTRY_IA32E_MODE);
}
