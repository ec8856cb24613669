import { exceptionVector, exitReason, field, msr } from '@nvmx/vmx-fields';
import { describe, expect, it } from 'vitest';
import { R11, RAX, RBX, RCX, RDI, RDX, RSI, RSP } from '../src/index.ts';
import { Guest, layout, selectors } from './guest.ts';

const IF = 0x200;
const HLT = exitReason.HLT;

describe('SYSCALL and SYSRET', () => {
  const withStar = (): Guest => {
    const guest = new Guest();
    guest.processor.writeMsr(msr.IA32_STAR, 0x0010_0008_0000_0000n);
    guest.processor.writeMsr(msr.IA32_LSTAR, BigInt(layout.code + 0x100));
    guest.processor.writeMsr(msr.IA32_FMASK, BigInt(IF));
    guest.load(layout.code + 0x100, 'f4');
    return guest;
  };

  it('SYSCALL enters LSTAR with flags masked, RCX and R11 saved', () => {
    const guest = withStar();
    guest.becomeUser();
    guest.set(field.GUEST_RFLAGS, 2 | IF);
    expect(guest.run('0f05')).toBe(HLT);
    expect(guest.get(field.GUEST_RIP)).toBe(layout.code + 0x100);
    expect(guest.processor.registers.big(RCX)).toBe(BigInt(layout.code + 2));
    expect(guest.processor.registers.big(R11)).toBe(BigInt(2 | IF));
    expect(guest.get(field.GUEST_RFLAGS)).toBe(2);
    expect([guest.get(field.GUEST_CS_SELECTOR), guest.get(field.GUEST_SS_SELECTOR)]).toEqual([8, 16]);
  });

  it('SYSRETQ returns to ring 3', () => {
    const guest = withStar();
    guest.set(field.EXCEPTION_BITMAP, 2 ** exceptionVector.GP);
    guest.becomeUser();
    guest.set(field.GUEST_CS_SELECTOR, selectors.code);
    guest.set(field.GUEST_CS_AR_BYTES, 0xa09b);
    guest.set(field.GUEST_SS_AR_BYTES, 0xc093);
    guest.processor.registers.setBig(RCX, BigInt(layout.code + 0x100));
    guest.processor.registers.setBig(R11, BigInt(2 | IF));
    // HLT in ring 3 faults: the return has worked.
    expect(guest.run('480f07')).toBe(exitReason.EXCEPTION_NMI);
    expect(guest.get(field.GUEST_CS_SELECTOR)).toBe(selectors.userCode);
    expect(guest.get(field.GUEST_SS_SELECTOR)).toBe(selectors.userData);
    expect(guest.get(field.GUEST_RFLAGS) & IF).toBe(IF);
  });

  it('are undefined without EFER.SCE', () => {
    const guest = withStar();
    guest.set(field.GUEST_IA32_EFER, 0xd00);
    guest.set(field.EXCEPTION_BITMAP, 2 ** exceptionVector.UD);
    expect(guest.run('0f05')).toBe(exitReason.EXCEPTION_NMI);
    expect(guest.run('480f07')).toBe(exitReason.EXCEPTION_NMI);
  });
});

describe('far transfers', () => {
  it('RETFQ pops RIP and CS', () => {
    const guest = new Guest();
    guest.load(layout.code + 0x100, 'f4');
    // push 8; push target; retfq
    expect(guest.run('6a08 6800010100 48cb')).toBe(HLT);
    expect(guest.get(field.GUEST_RIP)).toBe(layout.code + 0x100);
    expect(guest.get(field.GUEST_RSP)).toBe(layout.stack);
  });

  it('a far JMP and CALL through memory', () => {
    const guest = new Guest();
    guest.write64(layout.data, BigInt(layout.code + 0x100));
    guest.write64(layout.data + 8, BigInt(selectors.code));
    guest.load(layout.code + 0x100, 'f4');
    expect(guest.run('48ff2c2500000300')).toBe(HLT);
    expect(guest.run('48ff1c2500000300')).toBe(HLT);
    expect(guest.read64(guest.get(field.GUEST_RSP))).toBe(BigInt(layout.code + 8));
    expect(guest.read64(guest.get(field.GUEST_RSP) + 8)).toBe(BigInt(selectors.code));
  });

  it('RETF to a 32-bit segment enters compatibility mode', () => {
    const guest = new Guest();
    guest.load(layout.code + 0x100, '40 f4');
    guest.processor.registers.setBig(RAX, 0x1_0000_0000n);
    // In 64-bit mode 40 would be a prefix of HLT; here it is INC EAX.
    expect(guest.run('6a38 6800010100 48cb')).toBe(HLT);
    expect(guest.processor.registers.low(RAX)).toBe(1);
    expect(guest.get(field.GUEST_CS_AR_BYTES)).toBe(0xc09b);
  });

  it.each([
    ['a null selector', '6a00', 0],
    ['a data segment', '6a10', 0x10],
    ['a selector outside of the GDT', '6840000000', 0x40],
    ['a code segment of outer privilege with RPL 0', '6a20', 0x20],
  ])('RETF to %s is #GP', (_, push, errorCode) => {
    const guest = new Guest();
    guest.set(field.EXCEPTION_BITMAP, 2 ** exceptionVector.GP);
    expect(guest.run(`${push} 6800010100 48cb`)).toBe(exitReason.EXCEPTION_NMI);
    expect(guest.get(field.VM_EXIT_INTR_ERROR_CODE)).toBe(errorCode);
    expect(guest.get(field.GUEST_RSP)).toBe(layout.stack - 16);
  });
});

describe('string instructions', () => {
  it('REP STOSQ fills over page ends, REP MOVSB copies', () => {
    const guest = new Guest();
    // mov rax, pattern; mov edi, 0x30ff8; mov ecx, 1024; rep stosq; mov esi, 0x31000; mov edi, 0x38001; mov ecx, 5000; rep movsb; hlt
    guest.run('48b8efcdab8967452301 bff80f0300 b900040000 f348ab be00100300 bf01800300 b988130000 f3a4 f4');
    for (const at of [0x30ff8, 0x31000, 0x32ff0]) expect(guest.read64(at)).toBe(0x0123_4567_89ab_cdefn);
    expect(guest.read64(0x32ff8)).toBe(0n);
    expect(guest.memory.u8[guest.hpa(0x38001)]).toBe(0xef);
    expect(guest.memory.u8[guest.hpa(0x38001 + 4999)]).toBe(0x01);
    expect(guest.processor.registers.low(RDI)).toBe(0x38001 + 5000);
    expect(guest.processor.registers.low(RSI)).toBe(0x31000 + 5000);
    expect(guest.processor.registers.low(RCX)).toBe(0);
  });

  it('an overlapping REP MOVSB repeats the pattern, as byte by byte', () => {
    const guest = new Guest();
    guest.memory.u8.set([1, 2, 3], guest.hpa(layout.data));
    guest.run('be00000300 bf03000300 b90f000000 f3a4 f4');
    expect([...guest.memory.u8.subarray(guest.hpa(layout.data), guest.hpa(layout.data) + 18)]).toEqual(
      Array.from({ length: 18 }, (_, n) => (n % 3) + 1),
    );
  });

  it('a page fault in the middle leaves counter and pointers at the element that faults', () => {
    const guest = new Guest();
    guest.map4K(layout.data + 0x1000, 0, 0);
    guest.set(field.EXCEPTION_BITMAP, 2 ** exceptionVector.PF);
    expect(guest.run('bff00f0300 b940000000 f3ab f4')).toBe(exitReason.EXCEPTION_NMI);
    expect(guest.processor.registers.low(RCX)).toBe(0x40 - 4);
    expect(guest.processor.registers.low(RDI)).toBe(layout.data + 0x1000);
    expect(guest.get(field.GUEST_RIP)).toBe(layout.code + 10);
  });

  it('an EPT violation in the middle resumes where it was', () => {
    const guest = new Guest();
    guest.mapEpt(layout.data + 0x1000, 0, 0);
    expect(guest.run('bff00f0300 b940000000 b8aaaaaaaa f3ab f4')).toBe(exitReason.EPT_VIOLATION);
    guest.mapEpt(layout.data + 0x1000, guest.hpa(layout.data + 0x1000), 0x37);
    expect(guest.resume()).toBe(HLT);
    for (let n = 0; n < 0x40; n++) expect(guest.read32(layout.data + 0xff0 + 4 * n)).toBe(0xaaaa_aaaa);
    expect(guest.read32(layout.data + 0xff0 + 0x100)).toBe(0);
  });

  it('SCASB with REPNE stops behind the byte that equals', () => {
    const guest = new Guest();
    guest.memory.u8.fill(7, guest.hpa(layout.data), guest.hpa(layout.data) + 3000);
    guest.memory.u8[guest.hpa(layout.data) + 2500] = 9;
    guest.run('b009 bf00000300 b9ff0f0000 f2ae f4');
    expect(guest.processor.registers.low(RDI)).toBe(layout.data + 2501);
    expect(guest.processor.registers.low(RCX)).toBe(0xfff - 2501);
  });
});

describe('the stack', () => {
  it('ENTER with nesting copies frame pointers', () => {
    const guest = new Guest();
    guest.processor.registers.setBig(5, BigInt(layout.data + 0x100));
    guest.write64(layout.data + 0xf8, 0x1111n);
    guest.write64(layout.data + 0xf0, 0x2222n);
    // enter 16, 3; hlt
    guest.run('c8100003 f4');
    const top = layout.stack;
    expect([1, 2, 3, 4].map((n) => guest.read64(top - 8 * n))).toEqual([
      BigInt(layout.data + 0x100),
      0x1111n,
      0x2222n,
      BigInt(top - 8),
    ]);
    expect(guest.get(field.GUEST_RSP)).toBe(top - 32 - 16);
    expect(guest.processor.registers.low(5)).toBe(top - 8);
  });

  it('POP to memory addressed by RSP uses RSP after the pop', () => {
    const guest = new Guest();
    // push 0x55; pop qword [rsp]; hlt
    guest.run('6a55 8f0424 f4');
    expect(guest.read64(layout.stack)).toBe(0x55n);
  });

  it('PUSH RSP pushes the value before, POP RSP loads the value popped', () => {
    const guest = new Guest();
    guest.run('54 58 f4');
    expect(guest.processor.registers.big(RAX)).toBe(BigInt(layout.stack));
    guest.run('6800020300 5c f4');
    expect(guest.get(field.GUEST_RSP)).toBe(0x30200);
  });

  it('POPF in ring 3 changes neither IF nor IOPL', () => {
    const guest = new Guest();
    guest.becomeUser();
    guest.set(field.EXCEPTION_BITMAP, 2 ** exceptionVector.UD);
    guest.run('6802320000 9d 0f0b');
    expect(guest.get(field.GUEST_RFLAGS) & 0x3200).toBe(0);
    const kernel = new Guest();
    kernel.run('6802320000 9d f4');
    expect(kernel.get(field.GUEST_RFLAGS) & 0x3200).toBe(0x3200);
  });
});

describe('registers', () => {
  it('a 32-bit result clears the upper half, narrower ones leave it', () => {
    const guest = new Guest();
    const { registers } = guest.processor;
    for (const register of [RAX, RBX, RDX]) registers.setBig(register, 0x1111_2222_3333_4444n);
    // mov eax, eax; mov bx, 5; mov dl, 6; hlt
    guest.run('89c0 66bb0500 b206 f4');
    expect([registers.big(RAX), registers.big(RBX), registers.big(RDX)]).toEqual([
      0x3333_4444n,
      0x1111_2222_3333_0005n,
      0x1111_2222_3333_4406n,
    ]);
  });

  it('a CMOVcc of 32 bits clears the upper half even when the condition fails', () => {
    const guest = new Guest();
    guest.processor.registers.setBig(RAX, 0x1111_2222_3333_4444n);
    // or ecx, 1 (ZF = 0); cmove eax, ebx; hlt
    guest.run('83c901 0f44c3 f4');
    expect(guest.processor.registers.big(RAX)).toBe(0x3333_4444n);
  });

  it('byte registers 4 to 7 are AH..BH without REX and SPL..DIL with it', () => {
    const guest = new Guest();
    const { registers } = guest.processor;
    guest.run('31c0 31f6 b47f 40b67e f4');
    expect([registers.low(RAX), registers.low(RSI)]).toEqual([0x7f00, 0x7e]);
    registers.setBig(RSP, 0n);
  });
});

describe('random numbers', () => {
  it('are the same in every run, set CF, and differ', () => {
    const draw = (): bigint[] => {
      const guest = new Guest();
      guest.run('480fc7f0 480fc7fb f4');
      expect(guest.get(field.GUEST_RFLAGS) & 1).toBe(1);
      return [guest.processor.registers.big(RAX), guest.processor.registers.big(RBX)];
    };
    const [first, second] = draw();
    expect(first).not.toBe(second);
    expect(draw()).toEqual([first, second]);
  });
});
