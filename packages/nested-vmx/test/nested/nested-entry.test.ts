import { EXIT_FAILED_VMENTRY, exitReason, field, vmExit, vmInstructionError } from '@nvmx/vmx-fields';
import { describe, expect, it } from 'vitest';
import { l1, place, pointerTo, runL1 } from '../l1-program.ts';
import { validVmcs12 } from '../valid-vmcs12.ts';

const L2_CODE = 0x3800;
const L1_EXIT = 0x3c00;
const ZF = 0x40;
const UNUSABLE = 0x1_0000;

/**
 * An L1 that is about to enter L2: VMXON, VMCLEAR and VMPTRLD are done, and the vCPU halted before `entries`. The current
 * vmcs12 is valid; the test breaks what it wants. Without EPT, so that L2 uses L1's own memory.
 */
function readyL1(entries: readonly (readonly number[])[], change: (vmcs12: ReturnType<typeof validVmcs12>) => void) {
  const run = runL1([
    l1.vmxon(pointerTo('vmxon')),
    l1.vmclear(pointerTo('vmcs')),
    l1.vmptrld(pointerTo('vmcs')),
    l1.hlt,
    ...entries,
  ]);
  const { vcpu } = run;
  const vmcs12 = validVmcs12();
  vmcs12.write32(field.SECONDARY_VM_EXEC_CONTROL, 0);
  for (const side of ['HOST', 'GUEST'] as const) vmcs12.write64(field[`${side}_RSP`], 0x5800, 0);
  vmcs12.write64(field.HOST_RIP, L1_EXIT, 0);
  vmcs12.write64(field.GUEST_RIP, L2_CODE, 0);
  for (const name of ['DS', 'ES', 'FS', 'GS', 'LDTR'] as const)
    vmcs12.write32(field[`GUEST_${name}_AR_BYTES`], UNUSABLE);
  vmcs12.write32(field.GUEST_SS_AR_BYTES, 0xc093);
  vmcs12.write32(field.GUEST_CS_AR_BYTES, 0xa09b);
  vmcs12.write32(field.GUEST_TR_AR_BYTES, 0x8b);
  vmcs12.write32(field.GUEST_CS_LIMIT, 0xffff_ffff);
  change(vmcs12);
  vcpu.nested.vmcs12.copyFrom(vmcs12);
  vcpu.memory.copyTo(L2_CODE, Uint8Array.from(l1.vmcall));
  vcpu.memory.copyTo(L1_EXIT, Uint8Array.from(l1.hlt));
  vcpu.halted = false;
  return { ...run, go: () => vcpu.run({ entriesMax: 1000 }) };
}

const reasonOf = ({ vcpu }: ReturnType<typeof readyL1>): number => vcpu.nested.vmcs12.read32(field.VM_EXIT_REASON);
const failed = (reason: number): number => EXIT_FAILED_VMENTRY + reason;

describe('VM entry of L1 into L2', () => {
  it('VMLAUNCH runs L2 to its VMCALL and leaves the VMCS launched', () => {
    const ready = readyL1([l1.vmlaunch], () => {});
    expect(ready.go().kind).toBe('halted');
    expect(reasonOf(ready)).toBe(exitReason.VMCALL);
    expect(ready.vcpu.nested.launched).toBe(true);
    expect(ready.vcpu.vmcs01.readBig(field.GUEST_RIP)).toBe(BigInt(L1_EXIT + 1));
  });

  it('an entry that fails on guest state leaves the VMCS clear, and L1 at its HOST_RIP', () => {
    const ready = readyL1([l1.vmlaunch], (v) => v.write64(field.GUEST_RFLAGS, 0, 0));
    ready.go();
    expect(reasonOf(ready)).toBe(failed(exitReason.INVALID_STATE));
    expect(ready.vcpu.nested.launched).toBe(false);
  });

  it('so does one that only the processor refuses', () => {
    const ready = readyL1([l1.vmlaunch], (v) => v.write32(field.GUEST_TR_AR_BYTES, UNUSABLE));
    ready.go();
    expect(reasonOf(ready)).toBe(failed(exitReason.INVALID_STATE));
    expect(ready.vcpu.nested.launched).toBe(false);
  });

  it('a link pointer that L0 does not take fails with qualification 4', () => {
    const ready = readyL1([l1.vmlaunch], (v) => v.write64(field.VMCS_LINK_POINTER, place.otherVmcs, 0));
    ready.go();
    expect(reasonOf(ready)).toBe(failed(exitReason.INVALID_STATE));
    expect(ready.vcpu.nested.vmcs12.read32(field.EXIT_QUALIFICATION)).toBe(4);
  });

  it('an MSR that cannot be loaded fails the entry with its number, also when L2 was to start halted', () => {
    const ready = readyL1([l1.vmlaunch], (v) => {
      v.write32(field.GUEST_ACTIVITY_STATE, 1);
      v.write32(field.VM_ENTRY_MSR_LOAD_COUNT, 1);
      v.write64(field.VM_ENTRY_MSR_LOAD_ADDR, place.scratch, 0);
    });
    ready.vcpu.memory.copyTo(place.scratch, Uint8Array.of(0x00, 0x01, 0x00, 0xc0));
    ready.go();
    expect(reasonOf(ready)).toBe(failed(exitReason.MSR_LOAD_FAIL));
    expect(ready.vcpu.nested.vmcs12.read32(field.EXIT_QUALIFICATION)).toBe(1);
    expect(ready.vcpu.vmcs01.readBig(field.GUEST_RIP)).toBe(BigInt(L1_EXIT + 1));
  });

  it('a control that VMWRITE changed brings the rules on host state back', () => {
    const VM_EXIT_CONTROLS = 0x400c;
    const ready = readyL1([l1.vmlaunch], () => {});
    ready.go();
    const { vcpu, written } = ready;
    const low = vcpu.nested.vmcs12.read32(field.VM_EXIT_CONTROLS) & ~vmExit.VM_EXIT_HOST_ADDR_SPACE_SIZE;
    const second = [l1.rax(VM_EXIT_CONTROLS), l1.rcx(low), l1.vmwrite, l1.vmresume, l1.flags, l1.hlt].flat();
    vcpu.memory.copyTo(L1_EXIT + 1, Uint8Array.from(second));
    vcpu.halted = false;
    expect(ready.go().kind).toBe('halted');
    expect((written.at(-1) as number) & ZF).toBe(ZF);
    expect(vcpu.nested.vmcs12.read32(field.VM_INSTRUCTION_ERROR)).toBe(
      vmInstructionError.VMXERR_ENTRY_INVALID_HOST_STATE_FIELD,
    );
  });

  it('the entry of a VMCS that was launched is VMRESUME, and VMLAUNCH fails', () => {
    const ready = readyL1([l1.vmlaunch], () => {});
    ready.go();
    const { vcpu } = ready;
    vcpu.memory.copyTo(L1_EXIT + 1, Uint8Array.from([...l1.vmlaunch, ...l1.flags, ...l1.hlt]));
    vcpu.halted = false;
    ready.go();
    expect(vcpu.nested.vmcs12.read32(field.VM_INSTRUCTION_ERROR)).toBe(
      vmInstructionError.VMXERR_VMLAUNCH_NONCLEAR_VMCS,
    );
  });

  it('an event left over from an older exit of L2 is not injected after a failed entry', () => {
    const ready = readyL1([l1.vmlaunch], (v) => v.write32(field.GUEST_TR_AR_BYTES, UNUSABLE));
    ready.vcpu.vmcs02.write32(field.IDT_VECTORING_INFO_FIELD, 0x8000_0021);
    expect(ready.go().kind).toBe('halted');
    expect(ready.injected).toEqual([]);
  });

  it('what VMCALL leaves: reason, length, and the address of the instruction', () => {
    const ready = readyL1([l1.vmlaunch], () => {});
    ready.go();
    const { vmcs12 } = ready.vcpu.nested;
    expect(vmcs12.read32(field.VM_EXIT_INSTRUCTION_LEN)).toBe(3);
    expect(vmcs12.readBig(field.GUEST_RIP)).toBe(BigInt(L2_CODE));
    expect(vmcs12.read32(field.VM_EXIT_INTR_INFO)).toBe(0);
    expect(vmcs12.read32(field.IDT_VECTORING_INFO_FIELD)).toBe(0);
  });
});

describe('exceptions of L2', () => {
  const UD2 = [0x0f, 0x0b];
  /** MOV EAX, [0x40000000]: nothing maps the address, so that the error code is 0. */
  const READ_UNMAPPED = [0x8b, 0x04, 0x25, 0x00, 0x00, 0x00, 0x40];
  const UD = 2 ** 6;
  const PF = 2 ** 14;

  /** L2 has no IDT: what L1 does not intercept ends as a triple fault. */
  it.each([
    ['#UD in the bitmap', UD2, { bitmap: UD, mask: 0, match: 0 }, exitReason.EXCEPTION_NMI, 0x8000_0306],
    ['#UD, another bit in the bitmap', UD2, { bitmap: PF, mask: 0, match: 0 }, exitReason.TRIPLE_FAULT, 0],
    [
      '#PF in the bitmap, match',
      READ_UNMAPPED,
      { bitmap: PF, mask: 0, match: 0 },
      exitReason.EXCEPTION_NMI,
      0x8000_0b0e,
    ],
    ['#PF in the bitmap, no match', READ_UNMAPPED, { bitmap: PF, mask: 1, match: 1 }, exitReason.TRIPLE_FAULT, 0],
    [
      '#PF not in the bitmap, no match',
      READ_UNMAPPED,
      { bitmap: 0, mask: 1, match: 1 },
      exitReason.EXCEPTION_NMI,
      0x8000_0b0e,
    ],
    ['#PF not in the bitmap, match', READ_UNMAPPED, { bitmap: 0, mask: 0, match: 0 }, exitReason.TRIPLE_FAULT, 0],
  ])('%s', (_name, code, o, reason, information) => {
    const ready = readyL1([l1.vmlaunch], (v) => {
      v.write32(field.EXCEPTION_BITMAP, o.bitmap);
      v.write32(field.PAGE_FAULT_ERROR_CODE_MASK, o.mask);
      v.write32(field.PAGE_FAULT_ERROR_CODE_MATCH, o.match);
    });
    ready.vcpu.memory.copyTo(L2_CODE, Uint8Array.from(code));
    ready.go();
    expect(reasonOf(ready)).toBe(reason);
    expect(ready.vcpu.nested.vmcs12.read32(field.VM_EXIT_INTR_INFO)).toBe(information);
  });
});
