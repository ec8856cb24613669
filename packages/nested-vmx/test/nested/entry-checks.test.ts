import { cr0, cr4, field, pinBased, procBased, secondary, type Vmcs, vmEntry, vmExit } from '@nvmx/vmx-fields';
import { describe, expect, it } from 'vitest';
import {
  controlCapabilities,
  controlChecks,
  type EntryCheck,
  enlightenedControlChecks,
  firstFailure,
  guestStateChecks,
  hostStateChecks,
} from '../../src/index.ts';
import { validVmcs12 } from '../valid-vmcs12.ts';

const groups = {
  controls: controlChecks,
  enlightened: enlightenedControlChecks,
  host: hostStateChecks,
  guest: guestStateChecks,
} as const;

const set = (vmcs: Vmcs, word: number, mask: number): void => vmcs.write32(word, vmcs.read32(word) | mask);
const proc = (mask: number) => (v: Vmcs) => set(v, field.CPU_BASED_VM_EXEC_CONTROL, mask);
const second = (mask: number) => (v: Vmcs) => set(v, field.SECONDARY_VM_EXEC_CONTROL, mask);
const postedInterrupts = (v: Vmcs): void => {
  set(v, field.PIN_BASED_VM_EXEC_CONTROL, pinBased.PIN_BASED_POSTED_INTR | pinBased.PIN_BASED_EXT_INTR_MASK);
  proc(procBased.CPU_BASED_TPR_SHADOW)(v);
  second(secondary.SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY)(v);
  set(v, field.VM_EXIT_CONTROLS, vmExit.VM_EXIT_ACK_INTR_ON_EXIT);
};
const both =
  (...steps: ((v: Vmcs) => void)[]) =>
  (v: Vmcs) => {
    for (const step of steps) step(v);
  };

/** Group, the rule that breaks, and how. */
const broken: readonly (readonly [keyof typeof groups, string, (v: Vmcs) => void])[] = [
  ['controls', 'cr3-target-count', (v) => v.write32(field.CR3_TARGET_COUNT, 5)],
  ['controls', 'io-bitmap-a', both(proc(procBased.CPU_BASED_USE_IO_BITMAPS), (v) => v.write32(field.IO_BITMAP_A, 1))],
  [
    'controls',
    'io-bitmap-b',
    both(proc(procBased.CPU_BASED_USE_IO_BITMAPS), (v) => v.write32(field.IO_BITMAP_B, 0x800)),
  ],
  [
    'controls',
    'msr-bitmap',
    both(proc(procBased.CPU_BASED_USE_MSR_BITMAPS), (v) => v.write64(field.MSR_BITMAP, 0, 1 << 14)),
  ],
  [
    'controls',
    'virtual-apic-page',
    both(proc(procBased.CPU_BASED_TPR_SHADOW), (v) => v.write32(field.VIRTUAL_APIC_PAGE_ADDR, 8)),
  ],
  [
    'controls',
    'tpr-threshold',
    both(proc(procBased.CPU_BASED_TPR_SHADOW), (v) => v.write32(field.TPR_THRESHOLD, 0x10)),
  ],
  ['controls', 'needs-tpr-shadow', second(secondary.SECONDARY_EXEC_APIC_REGISTER_VIRT)],
  ['controls', 'needs-tpr-shadow', second(secondary.SECONDARY_EXEC_VIRTUALIZE_X2APIC_MODE)],
  [
    'controls',
    'x2apic-mode-excludes-apic-accesses',
    both(
      proc(procBased.CPU_BASED_TPR_SHADOW),
      second(secondary.SECONDARY_EXEC_VIRTUALIZE_X2APIC_MODE | secondary.SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES),
    ),
  ],
  [
    'controls',
    'apic-access-page',
    both(second(secondary.SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES), (v) => v.write32(field.APIC_ACCESS_ADDR, 1)),
  ],
  [
    'controls',
    'virtual-interrupt-delivery-needs-external-interrupt-exiting',
    both(proc(procBased.CPU_BASED_TPR_SHADOW), second(secondary.SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY)),
  ],
  [
    'controls',
    'posted-interrupts-need-virtual-interrupt-delivery',
    (v) => set(v, field.PIN_BASED_VM_EXEC_CONTROL, pinBased.PIN_BASED_POSTED_INTR),
  ],
  ['controls', 'posted-interrupt-vector', both(postedInterrupts, (v) => v.write32(field.POSTED_INTR_NV, 0x100))],
  [
    'controls',
    'posted-interrupt-descriptor',
    both(postedInterrupts, (v) => v.write32(field.POSTED_INTR_DESC_ADDR, 32)),
  ],
  ['controls', 'vpid', second(secondary.SECONDARY_EXEC_ENABLE_VPID)],
  ['controls', 'eptp', (v) => v.write32(field.EPT_POINTER, 0x0030_0000 | (3 << 3))],
  ['controls', 'eptp', (v) => v.write32(field.EPT_POINTER, 0x0030_0000 | (2 << 3) | 6)],
  ['controls', 'eptp', (v) => v.write32(field.EPT_POINTER, 0x0030_0000 | 0x40 | (3 << 3) | 6)],
  [
    'controls',
    'vm-entry-msr-load-list',
    both(
      (v) => v.write32(field.VM_ENTRY_MSR_LOAD_COUNT, 1),
      (v) => v.write32(field.VM_ENTRY_MSR_LOAD_ADDR, 8),
    ),
  ],
  [
    'controls',
    'vm-exit-msr-store-list',
    both(
      (v) => v.write32(field.VM_EXIT_MSR_STORE_COUNT, 1),
      (v) => v.write64(field.VM_EXIT_MSR_STORE_ADDR, 0, 1 << 14),
    ),
  ],
  [
    'controls',
    'vm-exit-msr-load-list',
    both(
      (v) => v.write32(field.VM_EXIT_MSR_LOAD_COUNT, 2),
      (v) => v.write64(field.VM_EXIT_MSR_LOAD_ADDR, 0xffff_fff0, 0x3fff),
    ),
  ],
  ['controls', 'vm-entry-event', (v) => v.write32(field.VM_ENTRY_INTR_INFO_FIELD, 0x8000_0100)],
  ['controls', 'vm-entry-event', (v) => v.write32(field.VM_ENTRY_INTR_INFO_FIELD, 0x8000_030e)],
  ['controls', 'vm-entry-event', (v) => v.write32(field.VM_ENTRY_INTR_INFO_FIELD, 0x8000_0b06)],
  ['enlightened', 'enlightened-pin-based', postedInterrupts],
  ['enlightened', 'enlightened-secondary', second(secondary.SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES)],
  ['enlightened', 'enlightened-secondary', second(secondary.SECONDARY_EXEC_APIC_REGISTER_VIRT)],
  ['enlightened', 'enlightened-proc-based', proc(procBased.CPU_BASED_ACTIVATE_TERTIARY_CONTROLS)],
  [
    'enlightened',
    'enlightened-vm-exit',
    (v) => set(v, field.VM_EXIT_CONTROLS, vmExit.VM_EXIT_SAVE_VMX_PREEMPTION_TIMER),
  ],
  ['enlightened', 'enlightened-vm-entry', (v) => set(v, field.VM_ENTRY_CONTROLS, vmEntry.VM_ENTRY_SMM)],
  ['host', 'host-cr0', (v) => v.write32(field.HOST_CR0, cr0.PE | cr0.PG)],
  ['host', 'host-cr4', (v) => v.write32(field.HOST_CR4, cr4.PAE)],
  ['host', 'host-cr3', (v) => v.write64(field.HOST_CR3, 0, 1 << 14)],
  ['host', 'host-sysenter-esp', (v) => v.write64(field.HOST_IA32_SYSENTER_ESP, 0, 0x8000)],
  ['host', 'host-sysenter-eip', (v) => v.write64(field.HOST_IA32_SYSENTER_EIP, 0, 0x8000)],
  [
    'host',
    'host-efer',
    both(
      (v) => set(v, field.VM_EXIT_CONTROLS, vmExit.VM_EXIT_LOAD_IA32_EFER),
      (v) => v.write32(field.HOST_IA32_EFER, 0),
    ),
  ],
  [
    'host',
    'host-pat',
    both(
      (v) => set(v, field.VM_EXIT_CONTROLS, vmExit.VM_EXIT_LOAD_IA32_PAT),
      (v) => v.write32(field.HOST_IA32_PAT, 2),
    ),
  ],
  ['host', 'host-selectors', (v) => v.write32(field.HOST_ES_SELECTOR, 3)],
  ['host', 'host-cs', (v) => v.write32(field.HOST_CS_SELECTOR, 0)],
  ['host', 'host-tr', (v) => v.write32(field.HOST_TR_SELECTOR, 0)],
  ['host', 'host-bases', (v) => v.write64(field.HOST_GS_BASE, 0, 0x8000)],
  ['host', 'host-address-space-size', (v) => v.write32(field.VM_EXIT_CONTROLS, controlCapabilities.vmExit.low)],
  ['host', 'host-rip', (v) => v.write64(field.HOST_RIP, 0, 0x8000)],
  ['guest', 'guest-cr0', (v) => v.write32(field.GUEST_CR0, cr0.PE | cr0.PG)],
  ['guest', 'guest-cr4', (v) => v.write32(field.GUEST_CR4, cr4.PAE)],
  ['guest', 'guest-cr3', (v) => v.write64(field.GUEST_CR3, 0, 1 << 14)],
  ['guest', 'guest-ia32e-mode', (v) => v.write32(field.GUEST_CR4, cr4.VMXE)],
  [
    'guest',
    'guest-dr7',
    both(
      (v) => set(v, field.VM_ENTRY_CONTROLS, vmEntry.VM_ENTRY_LOAD_DEBUG_CONTROLS),
      (v) => v.write64(field.GUEST_DR7, 0x400, 1),
    ),
  ],
  ['guest', 'guest-sysenter-esp', (v) => v.write64(field.GUEST_SYSENTER_ESP, 0, 0x8000)],
  ['guest', 'guest-sysenter-eip', (v) => v.write64(field.GUEST_SYSENTER_EIP, 0, 0x8000)],
  [
    'guest',
    'guest-efer',
    both(
      (v) => set(v, field.VM_ENTRY_CONTROLS, vmEntry.VM_ENTRY_LOAD_IA32_EFER),
      (v) => v.write32(field.GUEST_IA32_EFER, 0),
    ),
  ],
  [
    'guest',
    'guest-pat',
    both(
      (v) => set(v, field.VM_ENTRY_CONTROLS, vmEntry.VM_ENTRY_LOAD_IA32_PAT),
      (v) => v.write32(field.GUEST_IA32_PAT, 3),
    ),
  ],
  ['guest', 'guest-rflags', (v) => v.write32(field.GUEST_RFLAGS, 0)],
  ['guest', 'guest-rflags', (v) => v.write32(field.VM_ENTRY_INTR_INFO_FIELD, 0x8000_0020)],
  ['guest', 'guest-rip', (v) => v.write64(field.GUEST_RIP, 0, 0x8000)],
  ['guest', 'guest-activity-state', (v) => v.write32(field.GUEST_ACTIVITY_STATE, 2)],
  ['guest', 'guest-link-pointer', (v) => v.write32(field.VMCS_LINK_POINTER, 0)],
];

describe('VM-entry checks', () => {
  it.each(Object.entries(groups))('a valid vmcs12 keeps every rule on %s', (_name, checks) => {
    expect(firstFailure(checks, validVmcs12())).toBeUndefined();
  });

  it.each(broken)('%s: the rule %s is found broken', (group, id, breakRule) => {
    const vmcs12 = validVmcs12();
    breakRule(vmcs12);
    expect(firstFailure(groups[group], vmcs12)?.id).toBe(id);
  });

  const words = [
    ['pin-based-reserved', field.PIN_BASED_VM_EXEC_CONTROL, controlCapabilities.pinBased],
    ['proc-based-reserved', field.CPU_BASED_VM_EXEC_CONTROL, controlCapabilities.procBased],
    ['secondary-reserved', field.SECONDARY_VM_EXEC_CONTROL, controlCapabilities.secondary],
    ['vm-exit-reserved', field.VM_EXIT_CONTROLS, controlCapabilities.vmExit],
    ['vm-entry-reserved', field.VM_ENTRY_CONTROLS, controlCapabilities.vmEntry],
  ] as const;

  it.each(words)('%s: each single bit is judged by the capability MSR', (id, word, capability) => {
    for (let bit = 0; bit < 32; bit++) {
      const mask = (1 << bit) >>> 0;
      const cleared = validVmcs12();
      cleared.write32(word, cleared.read32(word) & ~mask);
      const mustBeOne = (capability.low & mask) !== 0;
      expect(firstFailure(controlChecks, cleared)?.id === id, `bit ${bit} cleared`).toBe(mustBeOne);
      const raised = validVmcs12();
      set(raised, word, mask);
      const mayBeOne = (capability.high & mask) !== 0;
      expect(firstFailure(controlChecks, raised)?.id === id, `bit ${bit} set`).toBe(!mayBeOne);
    }
  });

  it('every rule of every group has a case that breaks it', () => {
    const covered = new Set<string>([...broken.map(([, id]) => id), ...words.map(([id]) => id)]);
    const all = Object.values(groups).flatMap((checks: readonly EntryCheck[]) => checks.map(({ id }) => id));
    expect(all.filter((id) => !covered.has(id))).toEqual(['host-pae']);
  });

  it('host-pae holds by the fixed bits of CR4 or fails with them', () => {
    const vmcs12 = validVmcs12();
    vmcs12.write32(field.HOST_CR4, cr4.VMXE);
    expect(firstFailure(hostStateChecks, vmcs12)?.id).toBe('host-pae');
  });
});
