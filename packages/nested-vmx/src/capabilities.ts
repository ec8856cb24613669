import {
  cr4,
  eptVpidCap,
  type MsrHalves,
  nestedVmxCapabilities,
  pinBased,
  procBased,
  secondary,
  vmEntry,
  vmExit,
  vmxMsr,
} from '@nvmx/vmx-fields';

const or = (...masks: number[]): number => masks.reduce((all, mask) => all | mask, 0) >>> 0;

/** Activity state HLT, and IA-32e mode saved by exits: bits 6 and 5. VMWRITE of exit information: bit 29. */
const MISC = 0x2000_0060;

/** What the processor carries out and L0 nests. A control that is not in here is not offered to L1. */
const offered = nestedVmxCapabilities({
  pinBased: or(pinBased.PIN_BASED_EXT_INTR_MASK, pinBased.PIN_BASED_NMI_EXITING, pinBased.PIN_BASED_POSTED_INTR),
  procBased: or(
    procBased.CPU_BASED_INTR_WINDOW_EXITING,
    procBased.CPU_BASED_USE_TSC_OFFSETTING,
    procBased.CPU_BASED_HLT_EXITING,
    procBased.CPU_BASED_INVLPG_EXITING,
    procBased.CPU_BASED_MWAIT_EXITING,
    procBased.CPU_BASED_RDPMC_EXITING,
    procBased.CPU_BASED_RDTSC_EXITING,
    procBased.CPU_BASED_CR3_LOAD_EXITING,
    procBased.CPU_BASED_CR3_STORE_EXITING,
    procBased.CPU_BASED_CR8_LOAD_EXITING,
    procBased.CPU_BASED_CR8_STORE_EXITING,
    procBased.CPU_BASED_TPR_SHADOW,
    procBased.CPU_BASED_MOV_DR_EXITING,
    procBased.CPU_BASED_UNCOND_IO_EXITING,
    procBased.CPU_BASED_USE_IO_BITMAPS,
    procBased.CPU_BASED_USE_MSR_BITMAPS,
    procBased.CPU_BASED_MONITOR_EXITING,
    procBased.CPU_BASED_PAUSE_EXITING,
    procBased.CPU_BASED_ACTIVATE_SECONDARY_CONTROLS,
  ),
  secondary: or(
    secondary.SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES,
    secondary.SECONDARY_EXEC_ENABLE_EPT,
    secondary.SECONDARY_EXEC_DESC,
    secondary.SECONDARY_EXEC_ENABLE_RDTSCP,
    secondary.SECONDARY_EXEC_VIRTUALIZE_X2APIC_MODE,
    secondary.SECONDARY_EXEC_ENABLE_VPID,
    secondary.SECONDARY_EXEC_WBINVD_EXITING,
    secondary.SECONDARY_EXEC_APIC_REGISTER_VIRT,
    secondary.SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY,
  ),
  vmExit: or(
    vmExit.VM_EXIT_SAVE_DEBUG_CONTROLS,
    vmExit.VM_EXIT_HOST_ADDR_SPACE_SIZE,
    vmExit.VM_EXIT_ACK_INTR_ON_EXIT,
    vmExit.VM_EXIT_SAVE_IA32_PAT,
    vmExit.VM_EXIT_LOAD_IA32_PAT,
    vmExit.VM_EXIT_SAVE_IA32_EFER,
    vmExit.VM_EXIT_LOAD_IA32_EFER,
  ),
  vmEntry: or(
    vmEntry.VM_ENTRY_LOAD_DEBUG_CONTROLS,
    vmEntry.VM_ENTRY_IA32E_MODE,
    vmEntry.VM_ENTRY_LOAD_IA32_PAT,
    vmEntry.VM_ENTRY_LOAD_IA32_EFER,
  ),
  eptVpidCap: {
    low: or(
      eptVpidCap.EXECUTE_ONLY,
      eptVpidCap.WALK_4,
      eptVpidCap.WRITE_BACK,
      eptVpidCap.PAGE_2M,
      eptVpidCap.PAGE_1G,
      eptVpidCap.INVEPT,
      eptVpidCap.INVEPT_SINGLE,
      eptVpidCap.INVEPT_GLOBAL,
    ),
    high: 0xffff_ffff,
  },
  vmFunctions: 0,
  inOutInformation: true,
  cr0Fixed1: { low: 0xffff_ffff, high: 0 },
  cr4Fixed1: {
    low: or(
      cr4.VME,
      cr4.PVI,
      cr4.TSD,
      cr4.DE,
      cr4.PSE,
      cr4.PAE,
      cr4.PGE,
      cr4.PCE,
      cr4.OSFXSR,
      cr4.OSXMMEXCPT,
      cr4.VMXE,
    ),
    high: 0,
  },
});

/** VMX capability MSRs 0x480 to 0x490 as L1 reads them. */
export const capabilityMsrs: ReadonlyMap<number, MsrHalves> = new Map([
  ...offered,
  [vmxMsr.IA32_VMX_MISC, { low: MISC, high: 0 }],
]);

/** Low half: bits that must be 1. High half: bits that may be 1. */
const halves = (index: number): MsrHalves => capabilityMsrs.get(index) as MsrHalves;

/** What VM entry allows in each control word. */
export const controlCapabilities = {
  pinBased: halves(vmxMsr.IA32_VMX_TRUE_PINBASED_CTLS),
  procBased: halves(vmxMsr.IA32_VMX_TRUE_PROCBASED_CTLS),
  secondary: halves(vmxMsr.IA32_VMX_PROCBASED_CTLS2),
  vmExit: halves(vmxMsr.IA32_VMX_TRUE_EXIT_CTLS),
  vmEntry: halves(vmxMsr.IA32_VMX_TRUE_ENTRY_CTLS),
} as const;

/** What VMX operation allows in CR0 and CR4. */
export const fixedBits = {
  cr0: { mustBeOne: halves(vmxMsr.IA32_VMX_CR0_FIXED0).low, mayBeOne: halves(vmxMsr.IA32_VMX_CR0_FIXED1).low },
  cr4: { mustBeOne: halves(vmxMsr.IA32_VMX_CR4_FIXED0).low, mayBeOne: halves(vmxMsr.IA32_VMX_CR4_FIXED1).low },
} as const;
