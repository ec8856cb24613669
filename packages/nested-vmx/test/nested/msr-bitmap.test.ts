import { createManagedMemory, PageView, pfnToHpa } from '@nvmx/guest-memory';
import { field, type MsrAccess, msr, msrBitmapBit, procBased, secondary, Vmcs } from '@nvmx/vmx-fields';
import { describe, expect, it } from 'vitest';
import { MsrBitmap } from '../../src/index.ts';

const {
  SECONDARY_EXEC_VIRTUALIZE_X2APIC_MODE,
  SECONDARY_EXEC_APIC_REGISTER_VIRT,
  SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY,
} = secondary;

function world(secondaryControls = 0) {
  const memory = createManagedMemory({ guestFrames: 8, kernelFrames: 8 });
  const l0 = new MsrBitmap(memory);
  l0.openPassthrough();
  const merged = new MsrBitmap(memory);
  const l1 = new PageView(memory, pfnToHpa(memory.frames.allocate('guest')));
  const vmcs12 = new Vmcs();
  vmcs12.write32(field.CPU_BASED_VM_EXEC_CONTROL, procBased.CPU_BASED_ACTIVATE_SECONDARY_CONTROLS);
  vmcs12.write32(field.SECONDARY_VM_EXEC_CONTROL, secondaryControls);
  const vmcs02 = new Vmcs();
  merged.programInto(vmcs02);
  const view = new PageView(memory, vmcs02.readAddress(field.MSR_BITMAP));
  return {
    l1,
    merge: () => merged.merge({ l1, l0, vmcs12 }),
    exits: (index: number, access: MsrAccess) => {
      const bit = msrBitmapBit(index, access);
      return ((view.u8(bit >>> 3) >>> (bit & 7)) & 1) === 1;
    },
    intercept: (index: number, access: MsrAccess) => {
      const bit = msrBitmapBit(index, access);
      l1.setU8(bit >>> 3, l1.u8(bit >>> 3) | (1 << (bit & 7)));
    },
    open: () => {
      const open: string[] = [];
      for (let bit = 0; bit < 4096 * 8; bit++) {
        if (((view.u8(bit >>> 3) >>> (bit & 7)) & 1) === 0) open.push(`${bit >>> 14 === 0 ? 'read' : 'write'} ${bit}`);
      }
      return open.length;
    },
  };
}

describe('MsrBitmap', () => {
  it('every access exits before the first merge', () => {
    expect(world().open()).toBe(0);
  });

  it('an L1 that passes everything opens only what L0 passes', () => {
    const { merge, open, exits } = world();
    merge();
    expect(open()).toBe(6);
    for (const index of [msr.IA32_FS_BASE, msr.IA32_GS_BASE, msr.IA32_KERNEL_GS_BASE]) {
      expect(exits(index, 'read')).toBe(false);
      expect(exits(index, 'write')).toBe(false);
    }
    expect(exits(msr.IA32_EFER, 'write')).toBe(true);
  });

  it.each(['read', 'write'] as const)('an access that L1 intercepts exits: %s', (access) => {
    const { merge, exits, intercept } = world();
    intercept(msr.IA32_GS_BASE, access);
    merge();
    expect(exits(msr.IA32_GS_BASE, access)).toBe(true);
    expect(exits(msr.IA32_GS_BASE, access === 'read' ? 'write' : 'read')).toBe(false);
  });

  it('a bit that L1 sets later closes what an earlier merge opened', () => {
    const { merge, exits, intercept } = world();
    merge();
    intercept(msr.IA32_FS_BASE, 'write');
    merge();
    expect(exits(msr.IA32_FS_BASE, 'write')).toBe(true);
  });

  it('x2APIC registers exit while L1 does not virtualize them, whatever its bitmap says', () => {
    const { merge, exits } = world(SECONDARY_EXEC_APIC_REGISTER_VIRT | SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY);
    merge();
    for (let index = 0x800; index <= 0x8ff; index++) expect(exits(index, 'read') && exits(index, 'write')).toBe(true);
  });

  it('x2APIC mode alone opens the TPR in both directions', () => {
    const { merge, exits, open } = world(SECONDARY_EXEC_VIRTUALIZE_X2APIC_MODE);
    merge();
    expect(exits(msr.IA32_X2APIC_TPR, 'read')).toBe(false);
    expect(exits(msr.IA32_X2APIC_TPR, 'write')).toBe(false);
    expect(open()).toBe(8);
  });

  it('APIC-register virtualization opens all x2APIC reads that L1 passes', () => {
    const { merge, exits, intercept } = world(
      SECONDARY_EXEC_VIRTUALIZE_X2APIC_MODE | SECONDARY_EXEC_APIC_REGISTER_VIRT,
    );
    intercept(0x839, 'read');
    merge();
    expect(exits(0x839, 'read')).toBe(true);
    expect(exits(0x83a, 'read')).toBe(false);
    expect(exits(0x83a, 'write')).toBe(true);
  });

  it('virtual-interrupt delivery opens writes of EOI and self-IPI', () => {
    const { merge, exits } = world(SECONDARY_EXEC_VIRTUALIZE_X2APIC_MODE | SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY);
    merge();
    expect(exits(msr.IA32_X2APIC_EOI, 'write')).toBe(false);
    expect(exits(msr.IA32_X2APIC_SELF_IPI, 'write')).toBe(false);
    expect(exits(msr.IA32_X2APIC_SELF_IPI, 'read')).toBe(true);
  });

  it('secondary controls without their activation count as 0', () => {
    const memory = createManagedMemory({ guestFrames: 8, kernelFrames: 8 });
    const merged = new MsrBitmap(memory);
    const vmcs12 = new Vmcs();
    vmcs12.write32(field.SECONDARY_VM_EXEC_CONTROL, SECONDARY_EXEC_VIRTUALIZE_X2APIC_MODE);
    const l1 = new PageView(memory, pfnToHpa(memory.frames.allocate('guest')));
    merged.merge({ l1, l0: new MsrBitmap(memory), vmcs12 });
    const vmcs02 = new Vmcs();
    merged.programInto(vmcs02);
    const bit = msrBitmapBit(msr.IA32_X2APIC_TPR, 'read');
    const view = new PageView(memory, vmcs02.readAddress(field.MSR_BITMAP));
    expect((view.u8(bit >>> 3) >>> (bit & 7)) & 1).toBe(1);
  });
});
