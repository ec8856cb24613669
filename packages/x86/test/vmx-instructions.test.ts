import { exceptionVector, exitReason, field } from '@nvmx/vmx-fields';
import { describe, expect, it } from 'vitest';
import { Guest, layout, selectors } from './guest.ts';

/** Fields of VM-exit instruction information, SDM volume 3, "Information for VM Exits Due to Instruction Execution". */
interface Information {
  readonly scale?: number;
  readonly register1?: number;
  readonly addressSize?: number;
  readonly isRegister?: boolean;
  readonly segment?: number;
  readonly index?: number;
  readonly base?: number;
  readonly register2?: number;
}

function encode(o: Information): number {
  if (o.isRegister === true) return ((1 << 10) | ((o.register1 ?? 0) << 3) | ((o.register2 ?? 0) << 28)) >>> 0;
  return (
    ((o.scale ?? 0) |
      ((o.addressSize ?? 2) << 7) |
      ((o.segment ?? 3) << 15) |
      (o.index === undefined ? 1 << 22 : o.index << 18) |
      (o.base === undefined ? 1 << 27 : o.base << 23) |
      ((o.register2 ?? 0) << 28)) >>>
    0
  );
}

const SS = 2;
const FS = 4;
const [RCX, RDX, RBX, RSP, RBP, RSI, RDI, R9, R10, R11, R12, R15] = [1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 15];

describe('VMX instructions exit with reason, length, information and displacement', () => {
  it.each([
    ['vmcall', '0f01c1', exitReason.VMCALL, 3, undefined, 0n],
    ['vmlaunch', '0f01c2', exitReason.VMLAUNCH, 3, undefined, 0n],
    ['vmresume', '0f01c3', exitReason.VMRESUME, 3, undefined, 0n],
    ['vmxoff', '0f01c4', exitReason.VMOFF, 3, undefined, 0n],
    [
      'vmxon [rbx+rcx*4+0x12345678]',
      'f30fc7b48b78563412',
      exitReason.VMON,
      9,
      { scale: 2, index: RCX, base: RBX },
      0x12345678n,
    ],
    ['vmclear [rip+0x10]', '660fc73510000000', exitReason.VMCLEAR, 8, {}, BigInt(layout.code + 1 + 8 + 0x10)],
    ['vmptrld fs:[eax]', '64670fc730', exitReason.VMPTRLD, 5, { addressSize: 1, segment: FS, base: 0 }, 0n],
    ['vmptrst [r12-8]', '410fc77c24f8', exitReason.VMPTRST, 6, { base: R12 }, 0xffff_ffff_ffff_fff8n],
    ['vmread rcx, rdx', '0f78d1', exitReason.VMREAD, 3, { isRegister: true, register1: RCX, register2: RDX }, 0n],
    ['vmread [rsp+8], r15', '440f787c2408', exitReason.VMREAD, 6, { segment: SS, base: RSP, register2: R15 }, 8n],
    ['vmwrite rax, [rdi+rsi*8]', '0f7904f7', exitReason.VMWRITE, 4, { scale: 3, index: RSI, base: RDI }, 0n],
    ['vmwrite r9, r10', '450f79ca', exitReason.VMWRITE, 4, { isRegister: true, register1: R10, register2: R9 }, 0n],
    [
      'invept r11, [rbp-0x70]',
      '66440f38805d90',
      exitReason.INVEPT,
      7,
      { segment: SS, base: RBP, register2: R11 },
      0xffff_ffff_ffff_ff90n,
    ],
    ['invvpid rdx, [0x30000]', '660f3881142500000300', exitReason.INVVPID, 10, { register2: RDX }, 0x30000n],
  ] as const)('%s', (_, code, reason, length, information, displacement) => {
    const guest = new Guest();
    expect(guest.run(`90 ${code}`)).toBe(reason);
    expect(guest.get(field.VM_EXIT_INSTRUCTION_LEN)).toBe(length);
    expect(guest.get(field.GUEST_RIP)).toBe(layout.code + 1);
    expect(guest.big(field.EXIT_QUALIFICATION)).toBe(displacement);
    if (information !== undefined) expect(guest.get(field.VMX_INSTRUCTION_INFO)).toBe(encode(information));
  });

  it('exit at every privilege', () => {
    for (const [code, reason] of [
      ['0f01c1', exitReason.VMCALL],
      ['0f78d1', exitReason.VMREAD],
    ] as const) {
      const guest = new Guest();
      guest.becomeUser();
      expect(guest.run(code)).toBe(reason);
    }
  });
});

describe('VMX instructions that are undefined', () => {
  const undefinedExit = (guest: Guest, code: string): boolean => {
    guest.set(field.EXCEPTION_BITMAP, 2 ** exceptionVector.UD);
    return guest.run(code) === exitReason.EXCEPTION_NMI;
  };

  it.each([
    ['VMFUNC while VM functions are off', '0f01d4'],
    ['VMMCALL', '0f01d9'],
    ['VMPTRST of a register with REP and LOCK', 'f0f30fc7f8'],
    ['INVEPT of a register', '660f3880c0'],
    ['INVEPT without 66', '0f388000'],
    ['VMREAD with 66', '660f78d1'],
  ] as const)('%s', (_, code) => {
    expect(undefinedExit(new Guest(), code)).toBe(true);
  });

  it('in compatibility mode all but VMCALL', () => {
    const compatibility = (): Guest => {
      const guest = new Guest();
      guest.set(field.GUEST_CS_SELECTOR, selectors.code32);
      guest.set(field.GUEST_CS_AR_BYTES, 0xc09b);
      return guest;
    };
    expect(undefinedExit(compatibility(), '0f01c2')).toBe(true);
    expect(undefinedExit(compatibility(), '0f78d1')).toBe(true);
    expect(compatibility().run('0f01c1')).toBe(exitReason.VMCALL);
  });
});
