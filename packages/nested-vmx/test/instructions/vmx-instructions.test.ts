import { gpa } from '@nvmx/guest-memory';
import { drive } from '@nvmx/sync';
import { field, vmInstructionError } from '@nvmx/vmx-fields';
import { describe, expect, it } from 'vitest';
import { type L1Run, l1, place, pointerTo, runL1 } from '../l1-program.ts';

const CF = 0x1;
const ZF = 0x40;
const ARITHMETIC = 0x8d5;
const UD = 0x8000_0306;
const GP = 0x8000_0b0d;
const ENCODING_GUEST_RIP = 0x681e;
const ENCODING_EXIT_REASON = 0x4402;
const ENCODING_CS_AR_BYTES = 0x4816;
const ENCODING_NONE = 0x1234;

const on = [l1.vmxon(pointerTo('vmxon'))];
const loaded = [...on, l1.vmclear(pointerTo('vmcs')), l1.vmptrld(pointerTo('vmcs'))];

/** Flags of the last instruction that the program looked at, and the error in the current VMCS. */
function lastOutcome(run: L1Run): 'succeed' | 'invalid' | number {
  expect(run.outcome.kind).toBe('halted');
  const flags = (run.written.at(-1) as number) & ARITHMETIC;
  if (flags === 0) return 'succeed';
  if (flags === CF) return 'invalid';
  expect(flags).toBe(ZF);
  return run.vcpu.nested.vmcs12.read32(field.VM_INSTRUCTION_ERROR);
}

const outcome = (...program: (readonly number[])[]) => lastOutcome(runL1([...program, l1.flags]));

function readMemory(run: L1Run, address: number): bigint {
  const bytes = new Uint8Array(8);
  drive(run.vm.readGuest(gpa(address), bytes));
  return new DataView(bytes.buffer).getBigUint64(0, true);
}

describe('VMX instructions of L1', () => {
  it('VMXON succeeds and clears the arithmetic flags', () => {
    expect(outcome(...on)).toBe('succeed');
  });

  it.each([
    ['VMXON without CR4.VMXE', on, { GUEST_CR4: 0x20 }, UD],
    ['VMCLEAR outside VMX operation', [l1.vmclear(pointerTo('vmcs'))], {}, UD],
    ['VMPTRLD outside VMX operation', [l1.vmptrld(pointerTo('vmcs'))], {}, UD],
    ['VMLAUNCH outside VMX operation', [l1.vmlaunch], {}, UD],
    ['VMREAD outside VMX operation', [l1.vmread], {}, UD],
    ['VMXOFF outside VMX operation', [l1.vmxoff], {}, UD],
    ['INVEPT outside VMX operation', [l1.invept(place.scratch)], {}, UD],
    ['VMXON with CR0.NE clear', on, { GUEST_CR0: 0x8000_0011 }, GP],
    ['an instruction after VMXOFF', [...on, l1.vmxoff, l1.vmptrst(place.scratch)], {}, UD],
  ] as const)('%s raises its exception', (_name, program, fields, event) => {
    expect(runL1(program, fields).injected[0]).toBe(event);
  });

  it.each([
    ['VMXON of a region with another revision', [l1.vmxon(pointerTo('badRevision'))], 'invalid'],
    ['VMXON of an unaligned region', [l1.vmxon(pointerTo('unaligned'))], 'invalid'],
    ['VMXON of a region beyond the physical-address width', [l1.vmxon(pointerTo('beyond'))], 'invalid'],
    ['a second VMXON without current VMCS', [...on, ...on], 'invalid'],
    ['a second VMXON', [...loaded, ...on], vmInstructionError.VMXERR_VMXON_IN_VMX_ROOT_OPERATION],
    ['VMCLEAR', [...loaded, l1.vmclear(pointerTo('otherVmcs'))], 'succeed'],
    [
      'VMCLEAR, unaligned',
      [...loaded, l1.vmclear(pointerTo('unaligned'))],
      vmInstructionError.VMXERR_VMCLEAR_INVALID_ADDRESS,
    ],
    [
      'VMCLEAR, too high',
      [...loaded, l1.vmclear(pointerTo('beyond'))],
      vmInstructionError.VMXERR_VMCLEAR_INVALID_ADDRESS,
    ],
    [
      'VMCLEAR of the VMXON region',
      [...loaded, l1.vmclear(pointerTo('vmxon'))],
      vmInstructionError.VMXERR_VMCLEAR_VMXON_POINTER,
    ],
    ['VMPTRLD', loaded, 'succeed'],
    [
      'VMPTRLD, unaligned',
      [...loaded, l1.vmptrld(pointerTo('unaligned'))],
      vmInstructionError.VMXERR_VMPTRLD_INVALID_ADDRESS,
    ],
    [
      'VMPTRLD, too high',
      [...loaded, l1.vmptrld(pointerTo('beyond'))],
      vmInstructionError.VMXERR_VMPTRLD_INVALID_ADDRESS,
    ],
    [
      'VMPTRLD of the VMXON region',
      [...loaded, l1.vmptrld(pointerTo('vmxon'))],
      vmInstructionError.VMXERR_VMPTRLD_VMXON_POINTER,
    ],
    [
      'VMPTRLD of another revision',
      [...loaded, l1.vmptrld(pointerTo('badRevision'))],
      vmInstructionError.VMXERR_VMPTRLD_INCORRECT_VMCS_REVISION_ID,
    ],
    ['VMREAD without current VMCS', [...on, l1.vmread], 'invalid'],
    ['VMWRITE without current VMCS', [...on, l1.vmwrite], 'invalid'],
    ['VMLAUNCH without current VMCS', [...on, l1.vmlaunch], 'invalid'],
    [
      'VMREAD of no field',
      [...loaded, l1.rax(ENCODING_NONE), l1.vmread],
      vmInstructionError.VMXERR_UNSUPPORTED_VMCS_COMPONENT,
    ],
    [
      'VMWRITE of an encoding with bit 32',
      [...loaded, l1.rax(0x1_0000_681en), l1.vmwrite],
      vmInstructionError.VMXERR_UNSUPPORTED_VMCS_COMPONENT,
    ],
    ['VMRESUME of a clear VMCS', [...loaded, l1.vmresume], vmInstructionError.VMXERR_VMRESUME_NONLAUNCHED_VMCS],
    ['VMLAUNCH of an empty VMCS', [...loaded, l1.vmlaunch], vmInstructionError.VMXERR_ENTRY_INVALID_CONTROL_FIELD],
    ['INVEPT of one context', [...loaded, l1.rax(1), l1.invept(place.scratch)], 'succeed'],
    ['INVEPT of all contexts', [...loaded, l1.rax(2), l1.invept(place.scratch)], 'succeed'],
    [
      'INVEPT of type 0',
      [...loaded, l1.rax(0), l1.invept(place.scratch)],
      vmInstructionError.VMXERR_INVALID_OPERAND_TO_INVEPT_INVVPID,
    ],
    [
      'INVEPT of type 3',
      [...loaded, l1.rax(3), l1.invept(place.scratch)],
      vmInstructionError.VMXERR_INVALID_OPERAND_TO_INVEPT_INVVPID,
    ],
    ['INVVPID of all contexts', [...loaded, l1.rax(2), l1.invvpid(place.scratch)], 'succeed'],
    [
      'INVVPID of VPID 0',
      [...loaded, l1.rax(1), l1.invvpid(place.scratch)],
      vmInstructionError.VMXERR_INVALID_OPERAND_TO_INVEPT_INVVPID,
    ],
    [
      'INVVPID of type 4',
      [...loaded, l1.rax(4), l1.invvpid(place.scratch)],
      vmInstructionError.VMXERR_INVALID_OPERAND_TO_INVEPT_INVVPID,
    ],
  ] as const)('%s', (_name, program, expected) => {
    expect(outcome(...program)).toBe(expected);
  });

  it('VMREAD gives back what VMWRITE stored, by register and by memory', () => {
    const value = 0xffff_8000_1234_5678n;
    const run = runL1([
      ...loaded,
      l1.rax(ENCODING_GUEST_RIP),
      l1.rcx(value),
      l1.vmwrite,
      l1.vmreadTo(place.scratch),
      l1.rcx(0),
      l1.vmread,
      l1.outRcx,
    ]);
    expect(run.written).toEqual([Number(value & 0xffff_ffffn)]);
    expect(readMemory(run, place.scratch)).toBe(value);
  });

  it('VMWRITE from memory stores the 64 bits that it finds there', () => {
    const run = runL1([...loaded, l1.rax(ENCODING_GUEST_RIP), l1.vmwriteFrom(pointerTo('otherVmcs'))]);
    expect(run.vcpu.nested.vmcs12.readBig(field.GUEST_RIP)).toBe(BigInt(place.otherVmcs));
  });

  it('VMWRITE of exit information is allowed, as IA32_VMX_MISC bit 29 says', () => {
    const run = runL1([...loaded, l1.rax(ENCODING_EXIT_REASON), l1.rcx(18), l1.vmwrite, l1.flags]);
    expect(lastOutcome(run)).toBe('succeed');
    expect(run.vcpu.nested.vmcs12.read32(field.VM_EXIT_REASON)).toBe(18);
  });

  it('VMWRITE of access rights keeps the defined bits only', () => {
    const run = runL1([...loaded, l1.rax(ENCODING_CS_AR_BYTES), l1.rcx(0xffff_ffff), l1.vmwrite]);
    expect(run.vcpu.nested.vmcs12.read32(field.GUEST_CS_AR_BYTES)).toBe(0x1_f0ff);
  });

  it('VMPTRST stores the current pointer, and all ones without one', () => {
    expect(readMemory(runL1([...on, l1.vmptrst(place.scratch)]), place.scratch)).toBe(0xffff_ffff_ffff_ffffn);
    expect(readMemory(runL1([...loaded, l1.vmptrst(place.scratch)]), place.scratch)).toBe(BigInt(place.vmcs));
  });

  it('VMCLEAR of the current VMCS writes it back and leaves none current', () => {
    const run = runL1([
      ...loaded,
      l1.rax(ENCODING_GUEST_RIP),
      l1.rcx(0x1234),
      l1.vmwrite,
      l1.vmclear(pointerTo('vmcs')),
      l1.vmptrst(place.scratch),
      l1.vmptrld(pointerTo('vmcs')),
      l1.vmread,
      l1.outRcx,
    ]);
    expect(readMemory(run, place.scratch)).toBe(0xffff_ffff_ffff_ffffn);
    expect(run.written).toEqual([0x1234]);
  });

  it('another VMPTRLD keeps what was written into the VMCS before', () => {
    const run = runL1([
      ...loaded,
      l1.rax(ENCODING_GUEST_RIP),
      l1.rcx(0x77),
      l1.vmwrite,
      l1.vmptrld(pointerTo('otherVmcs')),
      l1.vmread,
      l1.outRcx,
      l1.vmptrld(pointerTo('vmcs')),
      l1.rax(ENCODING_GUEST_RIP),
      l1.vmread,
      l1.outRcx,
    ]);
    expect(run.written).toEqual([0, 0x77]);
  });

  it('VMCALL of L1 is a hypercall that L0 does not have', () => {
    const run = runL1([l1.rax(1), l1.vmcall, [0xe7, 0x80]]);
    expect(run.written).toEqual([-1000 >>> 0]);
  });
});
