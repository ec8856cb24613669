import { describe, expect, it } from 'vitest';
import {
  everyNestedVmxFeature,
  evmcsControls,
  fieldRows,
  type NestedVmxFeatures,
  nestedVmxCapabilities,
  pinBased,
  secondary,
  vmxMsr,
} from '../src/index.ts';

const cr = { cr0Fixed1: { low: 0xffff_ffff, high: 0 }, cr4Fixed1: { low: 0x3727ff, high: 0 } };
const every = everyNestedVmxFeature(cr);
const none: NestedVmxFeatures = {
  pinBased: 0,
  procBased: 0,
  secondary: 0,
  vmExit: 0,
  vmEntry: 0,
  eptVpidCap: { low: 0, high: 0 },
  vmFunctions: 0,
  inOutInformation: false,
  ...cr,
};

describe('nestedVmxCapabilities', () => {
  it('shows with every feature the values that KVM shows on a processor that has everything', () => {
    const hexadecimal = [...nestedVmxCapabilities(every)].map(([msr, { low, high }]) => [msr, hex(high) + hex(low)]);
    expect(Object.fromEntries(hexadecimal)).toEqual({
      1152: '00d8100011e57ed0',
      1153: '000000ff00000016',
      1154: 'fff9fffe0401e172',
      1155: '00ffffff00036dff',
      1156: '0001f3ff000011ff',
      1157: '0000000020000165',
      1158: '0000000080000021',
      1159: '00000000ffffffff',
      1160: '0000000000002000',
      1161: '00000000003727ff',
      1162: '0000000000000032',
      1163: '0613fbff00000000',
      1164: '00000f01063340c1',
      1165: '000000ff00000016',
      1166: 'fff9fffe04006172',
      1167: '00ffffff00036dfb',
      1168: '0001f3ff000011fb',
      1169: '0000000000000001',
    });
  });

  it('offers without any feature the controls that must be 1, and no others', () => {
    const capabilities = nestedVmxCapabilities(none);
    for (const msr of [0x48d, 0x48e, 0x48f, 0x490, 0x48b]) {
      const { low, high } = capabilities.get(msr)!;
      expect(high, hex(msr)).toBe(low);
    }
    expect(capabilities.get(vmxMsr.IA32_VMX_EPT_VPID_CAP)).toEqual({ low: 0, high: 0 });
    expect(capabilities.has(vmxMsr.IA32_VMX_VMFUNC)).toBe(false);
    expect(capabilities.get(vmxMsr.IA32_VMX_BASIC)!.high).toBe(0x0098_1000);
  });

  it('offers a control when it is supported and KVM would offer it', () => {
    const capabilities = nestedVmxCapabilities({
      ...none,
      pinBased: pinBased.PIN_BASED_POSTED_INTR,
      secondary: secondary.SECONDARY_EXEC_ENABLE_EPT | secondary.SECONDARY_EXEC_MODE_BASED_EPT_EXEC,
    });
    expect(capabilities.get(vmxMsr.IA32_VMX_TRUE_PINBASED_CTLS)).toEqual({ low: 0x16, high: 0x96 });
    expect(capabilities.get(vmxMsr.IA32_VMX_PROCBASED_CTLS2)).toEqual({ low: 0, high: 2 });
  });

  it('never offers less than it demands, in any control MSR, true or not', () => {
    for (const features of [every, none]) {
      for (const [msr, { low, high }] of nestedVmxCapabilities(features)) {
        const isControl = (msr >= 0x481 && msr <= 0x484) || msr === 0x48b || (msr >= 0x48d && msr <= 0x490);
        if (isControl) expect((low & ~high) >>> 0, hex(msr)).toBe(0);
      }
    }
  });

  it('makes the MSRs without TRUE demand at least what the TRUE ones do', () => {
    const capabilities = nestedVmxCapabilities(every);
    for (const [plain, withTrue] of [
      [0x481, 0x48d],
      [0x482, 0x48e],
      [0x483, 0x48f],
      [0x484, 0x490],
    ] as const) {
      expect((capabilities.get(withTrue)!.low & ~capabilities.get(plain)!.low) >>> 0).toBe(0);
    }
  });

  it('names each MSR of the answer, and answers for each name', () => {
    expect([...nestedVmxCapabilities(every).keys()].sort()).toEqual(Object.values(vmxMsr).sort());
  });

  it('reports in VMCS_ENUM the highest index of a field that vmcs12 holds', () => {
    const indexes = fieldRows.filter((row) => row.vmcs12Offset !== undefined).map((row) => row.index);
    expect(nestedVmxCapabilities(every).get(vmxMsr.IA32_VMX_VMCS_ENUM)!.low).toBe(Math.max(...indexes) << 1);
  });
});

describe('evmcsControls', () => {
  it('leave out what enlightened VMCS version 1 has no field for', () => {
    expect(evmcsControls.pinBased & pinBased.PIN_BASED_POSTED_INTR).toBe(0);
    expect(evmcsControls.pinBased & pinBased.PIN_BASED_VMX_PREEMPTION_TIMER).toBe(0);
    expect(evmcsControls.secondary & secondary.SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES).toBe(0);
    expect(evmcsControls.secondary & secondary.SECONDARY_EXEC_ENABLE_EPT).toBe(2);
  });
});

function hex(value: number): string {
  return value.toString(16).padStart(8, '0');
}
