import { describe, expect, it } from 'vitest';
import {
  alwaysOn,
  cr4,
  eptVpidCap,
  interruptionInfo,
  msr,
  nestedStateFlags,
  nestedStateIoctl,
  nestedStateLayout,
  nestedStateSmmFlags,
  nestedStateVmxFlags,
  piDesc,
  pinBased,
  procBased,
  rflags,
  secondary,
  setNestedStateRules,
  tertiary,
  virtualApicPage,
  vmEntry,
  vmExit,
  vpAssistPage,
  x2apicMsr,
} from '../src/index.ts';

describe('vpAssistPage', () => {
  it('fills its page with no gap and no overlap', () => {
    let end = 0;
    for (const member of Object.values(vpAssistPage)) {
      expect(member.offset).toBe(end);
      end += member.bytes;
    }
    expect(end).toBe(4096);
    expect(vpAssistPage.current_nested_vmcs.offset).toBe(48);
    expect(vpAssistPage.enlighten_vmentry).toEqual({ offset: 40, bytes: 1, type: 'u8' });
  });
});

describe('piDesc', () => {
  it('fills 512 bits with no gap and no overlap', () => {
    let next = 0;
    for (const run of Object.values(piDesc)) {
      expect(run.firstBit).toBe(next);
      next = run.lastBit + 1;
    }
    expect(next).toBe(512);
  });
});

describe('virtualApicPage', () => {
  it('places 4-byte registers 16 bytes apart, each at the offset of its x2APIC MSR', () => {
    for (const [name, { offset, bytes }] of Object.entries(virtualApicPage)) {
      expect([offset % 16, bytes], name).toEqual([0, 4]);
      expect(x2apicMsr[name as keyof typeof x2apicMsr], name).toBe(0x800 + offset / 16);
    }
    expect(virtualApicPage.IRR7.offset).toBe(0x270);
  });

  it('agrees with the common MSR numbers', () => {
    expect([x2apicMsr.TASKPRI, x2apicMsr.SELF_IPI]).toEqual([msr.IA32_X2APIC_TPR, msr.IA32_X2APIC_SELF_IPI]);
  });
});

describe('nestedStateLayout', () => {
  it('has a header of 128 bytes and two vmcs12, 8320 bytes in all', () => {
    const { hdr, 'data.vmx.vmcs12': vmcs12, 'data.vmx.shadow_vmcs12': shadow } = nestedStateLayout;
    expect([hdr.offset + hdr.bytes, vmcs12.offset, shadow.offset + shadow.bytes]).toEqual([128, 128, 8320]);
  });

  it('has ioctl numbers that carry the header size', () => {
    for (const ioctl of Object.values(nestedStateIoctl)) expect((ioctl >>> 16) & 0x3fff).toBe(128);
  });

  it('has flags that do not overlap within their word', () => {
    for (const group of [nestedStateFlags, nestedStateSmmFlags, nestedStateVmxFlags]) expectDisjoint(group);
    expect(Object.values(nestedStateFlags).reduce((all, flag) => all | flag)).toBe(0x010f);
  });
});

describe('setNestedStateRules', () => {
  it('are numbered from 1 without a gap', () => {
    expect(setNestedStateRules.map((rule) => rule.order)).toEqual(setNestedStateRules.map((_, index) => index + 1));
  });
});

describe('the control words', () => {
  it('hold single bits that do not overlap', () => {
    for (const word of [pinBased, procBased, secondary, tertiary, vmExit, vmEntry]) expectDisjoint(word);
    expect(procBased.CPU_BASED_ACTIVATE_SECONDARY_CONTROLS).toBe(0x8000_0000);
  });

  it('and the settings that are always on are the default settings of the SDM', () => {
    expect(alwaysOn).toEqual({
      PIN_BASED_ALWAYSON_WITHOUT_TRUE_MSR: 0x16,
      CPU_BASED_ALWAYSON_WITHOUT_TRUE_MSR: 0x0401_e172,
      VM_EXIT_ALWAYSON_WITHOUT_TRUE_MSR: 0x0003_6dff,
      VM_ENTRY_ALWAYSON_WITHOUT_TRUE_MSR: 0x11ff,
    });
  });
});

describe('the architecture bits', () => {
  it('are masks, of one bit or of a run of bits', () => {
    expect([cr4.VMXE, rflags.IOPL, interruptionInfo.TYPE, interruptionInfo.VALID]).toEqual([
      0x2000, 0x3000, 0x700, 0x8000_0000,
    ]);
    expect(eptVpidCap.AD | eptVpidCap.INVEPT).toBe(0x30_0000);
  });
});

function expectDisjoint(masks: Readonly<Record<string, number>>): void {
  let all = 0;
  for (const [name, mask] of Object.entries(masks)) {
    expect(all & mask, name).toBe(0);
    expect(Number.isInteger(Math.log2(mask)), name).toBe(true);
    all |= mask;
  }
}
