import { capabilities } from './generated/nested-vmx-caps.ts';
import type { CapabilityRow } from './table.ts';

/** The two halves of an MSR, unsigned. */
export interface MsrHalves {
  readonly low: number;
  readonly high: number;
}

/** What L0 and its processor can do for an L1. A control word is the mask of the controls that may be 1. */
export interface NestedVmxFeatures {
  readonly pinBased: number;
  readonly procBased: number;
  readonly secondary: number;
  readonly vmExit: number;
  readonly vmEntry: number;
  /** Bits of IA32_VMX_EPT_VPID_CAP. */
  readonly eptVpidCap: MsrHalves;
  /** Bits of IA32_VMX_VMFUNC: what VM functions L1 may allow L2. */
  readonly vmFunctions: number;
  /** INS and OUTS exits carry instruction information. */
  readonly inOutInformation: boolean;
  /** Bits of CR0 and CR4 that may be 1 in VMX operation. */
  readonly cr0Fixed1: MsrHalves;
  readonly cr4Fixed1: MsrHalves;
}

/** Everything that KVM ever shows to an L1; CR0 and CR4 depend on the processor alone and stay open. */
export function everyNestedVmxFeature(cr: Pick<NestedVmxFeatures, 'cr0Fixed1' | 'cr4Fixed1'>): NestedVmxFeatures {
  return {
    pinBased: capabilities.IA32_VMX_TRUE_PINBASED_CTLS.high!,
    procBased: capabilities.IA32_VMX_TRUE_PROCBASED_CTLS.high!,
    secondary: capabilities.IA32_VMX_PROCBASED_CTLS2.high!,
    vmExit: capabilities.IA32_VMX_TRUE_EXIT_CTLS.high!,
    vmEntry: capabilities.IA32_VMX_TRUE_ENTRY_CTLS.high!,
    eptVpidCap: whole(capabilities.IA32_VMX_EPT_VPID_CAP),
    vmFunctions: capabilities.IA32_VMX_VMFUNC.low!,
    inOutInformation: true,
    ...cr,
  };
}

/**
 * The VMX capability MSRs that L0 shows to L1, by MSR number: nested_vmx_setup_ctls_msrs() in KVM. A control is offered when
 * KVM would offer it and `features` has it; the controls that must be 1 are always there.
 * IA32_VMX_VMFUNC is absent without VM functions: its RDMSR then faults.
 */
export function nestedVmxCapabilities(features: NestedVmxFeatures): Map<number, MsrHalves> {
  const c = capabilities;
  const pin = controls(c.IA32_VMX_TRUE_PINBASED_CTLS, features.pinBased);
  const proc = controls(c.IA32_VMX_TRUE_PROCBASED_CTLS, features.procBased);
  const exit = controls(c.IA32_VMX_TRUE_EXIT_CTLS, features.vmExit);
  const entry = controls(c.IA32_VMX_TRUE_ENTRY_CTLS, features.vmEntry);
  const eptVpid = whole(c.IA32_VMX_EPT_VPID_CAP);
  const functions = (c.IA32_VMX_VMFUNC.low! & features.vmFunctions) >>> 0;
  return new Map([
    [c.IA32_VMX_BASIC.msr, basic(features)],
    [c.IA32_VMX_PINBASED_CTLS.msr, withoutTrue(c.IA32_VMX_PINBASED_CTLS, pin)],
    [c.IA32_VMX_PROCBASED_CTLS.msr, withoutTrue(c.IA32_VMX_PROCBASED_CTLS, proc)],
    [c.IA32_VMX_EXIT_CTLS.msr, withoutTrue(c.IA32_VMX_EXIT_CTLS, exit)],
    [c.IA32_VMX_ENTRY_CTLS.msr, withoutTrue(c.IA32_VMX_ENTRY_CTLS, entry)],
    [c.IA32_VMX_MISC.msr, whole(c.IA32_VMX_MISC)],
    [c.IA32_VMX_CR0_FIXED0.msr, whole(c.IA32_VMX_CR0_FIXED0)],
    [c.IA32_VMX_CR0_FIXED1.msr, features.cr0Fixed1],
    [c.IA32_VMX_CR4_FIXED0.msr, whole(c.IA32_VMX_CR4_FIXED0)],
    [c.IA32_VMX_CR4_FIXED1.msr, features.cr4Fixed1],
    [c.IA32_VMX_VMCS_ENUM.msr, whole(c.IA32_VMX_VMCS_ENUM)],
    [c.IA32_VMX_PROCBASED_CTLS2.msr, controls(c.IA32_VMX_PROCBASED_CTLS2, features.secondary)],
    [
      c.IA32_VMX_EPT_VPID_CAP.msr,
      {
        low: (eptVpid.low & features.eptVpidCap.low) >>> 0,
        high: (eptVpid.high & features.eptVpidCap.high) >>> 0,
      },
    ],
    [c.IA32_VMX_TRUE_PINBASED_CTLS.msr, pin],
    [c.IA32_VMX_TRUE_PROCBASED_CTLS.msr, proc],
    [c.IA32_VMX_TRUE_EXIT_CTLS.msr, exit],
    [c.IA32_VMX_TRUE_ENTRY_CTLS.msr, entry],
    ...(functions === 0 ? [] : ([[c.IA32_VMX_VMFUNC.msr, { low: functions, high: 0 }]] as const)),
  ]);
}

const IN_OUT_INFORMATION = 1 << (54 - 32);

function basic(features: NestedVmxFeatures): MsrHalves {
  const { low, high } = whole(capabilities.IA32_VMX_BASIC);
  return { low, high: features.inOutInformation ? high | IN_OUT_INFORMATION : high & ~IN_OUT_INFORMATION };
}

/** Low half: what must be 1. High half: what may be 1. Intel SDM volume 3, "Reserved Controls and Default Settings". */
function controls(row: CapabilityRow, supported: number): MsrHalves {
  return { low: row.low!, high: (row.low! | (row.high! & supported)) >>> 0 };
}

/** The MSR of a processor without TRUE controls: the default settings must be 1. */
function withoutTrue(row: CapabilityRow, trueControls: MsrHalves): MsrHalves {
  return { low: (trueControls.low | row.low!) >>> 0, high: (trueControls.high | row.low!) >>> 0 };
}

function whole(row: CapabilityRow): MsrHalves {
  return { low: row.low!, high: row.high! };
}
