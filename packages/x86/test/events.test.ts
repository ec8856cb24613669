import { exceptionVector, exitReason, field } from '@nvmx/vmx-fields';
import { describe, expect, it } from 'vitest';
import { HOST_TICK_VECTOR, RCX } from '../src/index.ts';
import { Guest, layout, selectors } from './guest.ts';

const IF = 0x200;
const VALID = 0x8000_0000;
const ACKNOWLEDGE = 0x8000;
const INTERRUPT_WINDOW = 4;
const NMI_WINDOW = 0x40_0000;
const NMI_EXITING = 8;
const MONITOR_TRAP = 0x800_0000;
const VECTOR = 0x55;
const STI_BLOCKING = 1;
const MOV_SS_BLOCKING = 2;
const NMI_BLOCKING = 8;

function eventGuest(pin = 1): Guest {
  const guest = new Guest({ controls: { pin } });
  guest.addHandlers();
  return guest;
}

const takenVector = (guest: Guest): number => guest.processor.registers.low(RCX) & 0xff;
const rip = (guest: Guest): number => guest.get(field.GUEST_RIP) - layout.code;

describe('event injection', () => {
  const inject = (
    guest: Guest,
    info: number,
    o: { readonly errorCode?: number; readonly length?: number } = {},
  ): void => {
    guest.set(field.VM_ENTRY_INTR_INFO_FIELD, VALID + info);
    guest.set(field.VM_ENTRY_EXCEPTION_ERROR_CODE, o.errorCode ?? 0);
    guest.set(field.VM_ENTRY_INSTRUCTION_LEN, o.length ?? 0);
  };

  it('an external interrupt is delivered before the first instruction, and the valid bit is cleared', () => {
    const guest = eventGuest();
    guest.set(field.GUEST_RFLAGS, 2 | IF);
    inject(guest, VECTOR);
    expect(guest.run('0f0b')).toBe(exitReason.HLT);
    expect(takenVector(guest)).toBe(VECTOR);
    expect(guest.read64(guest.get(field.GUEST_RSP))).toBe(BigInt(layout.code));
    expect(guest.get(field.VM_ENTRY_INTR_INFO_FIELD)).toBe(VECTOR);
  });

  it('a hardware exception pushes its error code and does not touch CR2', () => {
    const guest = eventGuest();
    guest.processor.setCr2(0x1234, 0);
    inject(guest, 0xb00 | exceptionVector.PF, { errorCode: 6 });
    guest.run('90');
    expect([takenVector(guest), guest.read64(guest.get(field.GUEST_RSP))]).toEqual([exceptionVector.PF, 6n]);
    expect(guest.processor.cr2).toBe(0x1234n);
  });

  it('a software interrupt pushes RIP plus the instruction length', () => {
    const guest = eventGuest();
    inject(guest, 0x400 | VECTOR, { length: 2 });
    guest.run('90');
    expect(guest.read64(guest.get(field.GUEST_RSP))).toBe(BigInt(layout.code + 2));
  });

  it('a software interrupt in ring 3 is checked against the DPL of its gate', () => {
    const guest = eventGuest();
    guest.becomeUser();
    inject(guest, 0x400 | VECTOR, { length: 2 });
    guest.run('90');
    expect(takenVector(guest)).toBe(exceptionVector.GP);
    const hardware = eventGuest();
    hardware.becomeUser();
    inject(hardware, 0x300 | exceptionVector.UD);
    hardware.run('90');
    expect(takenVector(hardware)).toBe(exceptionVector.UD);
  });

  it('an NMI blocks further NMIs until IRET', () => {
    const guest = eventGuest();
    inject(guest, 0x202);
    guest.run('90');
    expect(takenVector(guest)).toBe(2);
    expect(guest.get(field.GUEST_INTERRUPTIBILITY_INFO)).toBe(NMI_BLOCKING);
  });

  it('an EPT violation on the way is reported with the event as IDT-vectoring information', () => {
    const guest = eventGuest();
    guest.mapEpt(layout.idt, 0, 0);
    inject(guest, 0xb00 | exceptionVector.GP, { errorCode: 0x18 });
    expect(guest.run('90')).toBe(exitReason.EPT_VIOLATION);
    expect(guest.get(field.IDT_VECTORING_INFO_FIELD)).toBe(VALID + 0xb00 + exceptionVector.GP);
    expect(guest.get(field.IDT_VECTORING_ERROR_CODE)).toBe(0x18);
    expect(guest.get(field.GUEST_PHYSICAL_ADDRESS)).toBe(layout.idt + 16 * exceptionVector.GP);
    expect(rip(guest)).toBe(0);
  });

  it('wakes a guest that halts', () => {
    const guest = eventGuest();
    guest.set(field.GUEST_RFLAGS, 2 | IF);
    guest.set(field.GUEST_ACTIVITY_STATE, 1);
    inject(guest, VECTOR);
    expect(guest.run('90')).toBe(exitReason.HLT);
    expect(guest.get(field.GUEST_ACTIVITY_STATE)).toBe(0);
  });

  it('no event without the valid bit', () => {
    const guest = eventGuest();
    guest.set(field.VM_ENTRY_INTR_INFO_FIELD, VECTOR);
    expect(guest.run('f4')).toBe(exitReason.HLT);
    expect(rip(guest)).toBe(0);
  });
});

describe('physical interrupts', () => {
  it.each([
    ['acknowledged on exit', ACKNOWLEDGE, VALID + VECTOR],
    ['not acknowledged', 0, 0],
  ])('exit whatever IF is: %s', (_, exitControls, info) => {
    const guest = eventGuest();
    guest.set(field.VM_EXIT_CONTROLS, exitControls);
    guest.processor.raiseInterrupt(VECTOR);
    expect(guest.run('90')).toBe(exitReason.EXTERNAL_INTERRUPT);
    expect(guest.get(field.VM_EXIT_INTR_INFO)).toBe(info);
    expect(guest.processor.interruptPending).toBe(info === 0);
  });

  it('without external-interrupt exiting go through the IDT, highest first, once IF is set', () => {
    const guest = eventGuest(0);
    guest.processor.raiseInterrupt(VECTOR);
    guest.processor.raiseInterrupt(VECTOR + 1);
    guest.run('90 fb 90 90 f4');
    expect([takenVector(guest), guest.read64(guest.get(field.GUEST_RSP))]).toEqual([
      VECTOR + 1,
      BigInt(layout.code + 3),
    ]);
    expect(guest.processor.interruptPending).toBe(true);
  });

  it('one vector is pending once', () => {
    const guest = eventGuest();
    guest.processor.raiseInterrupt(VECTOR);
    guest.processor.raiseInterrupt(VECTOR);
    guest.run('f4');
    expect(guest.run('f4')).toBe(exitReason.HLT);
  });

  it('a bad vector is a programmer error', () => {
    for (const vector of [-1, 256, 1.5]) expect(() => new Guest().processor.raiseInterrupt(vector)).toThrow();
  });
});

describe('the host tick', () => {
  it.each([1, 2, 3, 100, 4999])('comes after exactly %i instructions', (instructionsMax) => {
    const guest = eventGuest();
    // l: inc rax; dec rcx; jmp l
    expect(guest.run('48ffc0 48ffc9 ebf8', { instructionsMax })).toBe(exitReason.EXTERNAL_INTERRUPT);
    expect(guest.processor.instructions).toBe(instructionsMax);
    expect(guest.get(field.VM_EXIT_INTR_INFO)).toBe(VALID + HOST_TICK_VECTOR);
    expect(rip(guest)).toBe([0, 3, 6][instructionsMax % 3]);
  });

  it('interrupts a long repeated string instruction', () => {
    const guest = eventGuest();
    expect(guest.run('b900000001 bf00000300 f3a6 f4', { instructionsMax: 5 })).toBe(exitReason.EXTERNAL_INTERRUPT);
  });
});

describe('windows', () => {
  it('interrupt-window exiting waits for IF', () => {
    const guest = eventGuest();
    guest.enable(field.CPU_BASED_VM_EXEC_CONTROL, INTERRUPT_WINDOW);
    expect(guest.run('90 fb 90 90')).toBe(exitReason.INTERRUPT_WINDOW);
    expect(rip(guest)).toBe(3);
    guest.set(field.GUEST_RFLAGS, 2 | IF);
    expect(guest.run('90')).toBe(exitReason.INTERRUPT_WINDOW);
    expect(rip(guest)).toBe(0);
  });

  it.each([
    ['blocking by STI', STI_BLOCKING, 1],
    ['blocking by MOV SS', MOV_SS_BLOCKING, 1],
    ['no blocking', 0, 0],
  ])('with %s the exit comes after %i instructions', (_, interruptibility, count) => {
    const guest = eventGuest();
    guest.set(field.GUEST_RFLAGS, 2 | IF);
    guest.set(field.GUEST_INTERRUPTIBILITY_INFO, interruptibility);
    guest.enable(field.CPU_BASED_VM_EXEC_CONTROL, INTERRUPT_WINDOW);
    expect(guest.run('90 90 90')).toBe(exitReason.INTERRUPT_WINDOW);
    expect(rip(guest)).toBe(count);
    expect(guest.get(field.GUEST_INTERRUPTIBILITY_INFO)).toBe(0);
  });

  it('MOV SS and POPF with IF open and shut the window', () => {
    const guest = eventGuest();
    guest.enable(field.CPU_BASED_VM_EXEC_CONTROL, INTERRUPT_WINDOW);
    // push 0x202; mov eax, 0x10; mov ss, eax; popfq; nop
    expect(guest.run('6802020000 b810000000 8ed0 9d 90')).toBe(exitReason.INTERRUPT_WINDOW);
    expect(rip(guest)).toBe(13);
  });

  it('a fault in the shadow keeps the shadow', () => {
    const guest = eventGuest();
    guest.set(field.EXCEPTION_BITMAP, 2 ** exceptionVector.UD);
    expect(guest.run('fb 0f0b')).toBe(exitReason.EXCEPTION_NMI);
    expect(guest.get(field.GUEST_INTERRUPTIBILITY_INFO)).toBe(STI_BLOCKING);
  });

  it('STI with IF set makes no shadow', () => {
    const guest = eventGuest();
    guest.set(field.GUEST_RFLAGS, 2 | IF);
    expect(guest.run('fb f4')).toBe(exitReason.HLT);
    expect(guest.get(field.GUEST_INTERRUPTIBILITY_INFO)).toBe(0);
  });

  it('NMI-window exiting waits until NMIs are not blocked', () => {
    const guest = eventGuest();
    guest.enable(field.CPU_BASED_VM_EXEC_CONTROL, NMI_WINDOW);
    expect(guest.run('90')).toBe(exitReason.NMI_WINDOW);
    guest.set(field.GUEST_INTERRUPTIBILITY_INFO, NMI_BLOCKING);
    // push ss; push rsp; pushfq; push cs; next rip; iretq by hand
    expect(guest.run('6a10 6800000200 6802000000 6a08 6800010100 48cf')).toBe(exitReason.NMI_WINDOW);
    expect(rip(guest)).toBe(0x100);
  });
});

describe('NMIs', () => {
  it('exit under NMI exiting', () => {
    const guest = eventGuest(1 | NMI_EXITING);
    guest.processor.raiseNonmaskableInterrupt();
    expect(guest.run('90')).toBe(exitReason.EXCEPTION_NMI);
    expect(guest.get(field.VM_EXIT_INTR_INFO)).toBe(VALID + 0x202);
  });

  it('are delivered without it, and blocked until IRET', () => {
    const guest = eventGuest();
    guest.processor.raiseNonmaskableInterrupt();
    guest.processor.raiseNonmaskableInterrupt();
    guest.load(layout.handlers + 32, '48cf');
    guest.load(layout.code, '90 f4');
    guest.run('90 f4');
    expect(guest.get(field.GUEST_INTERRUPTIBILITY_INFO)).toBe(0);
    expect(guest.get(field.GUEST_RSP)).toBe(layout.stack);
    expect(rip(guest)).toBe(1);
  });
});

describe('virtual NMIs', () => {
  const VIRTUAL = 0x20;

  it.each([
    ['without virtual NMIs a physical one waits', 0, exitReason.HLT],
    ['with virtual NMIs it exits', VIRTUAL, exitReason.EXCEPTION_NMI],
  ])('while NMIs are blocked: %s', (_, pin, reason) => {
    const guest = eventGuest(1 | NMI_EXITING | pin);
    guest.set(field.GUEST_INTERRUPTIBILITY_INFO, NMI_BLOCKING);
    guest.processor.raiseNonmaskableInterrupt();
    expect(guest.run('f4')).toBe(reason);
  });

  it.each([
    ['no NMI exiting', 0, 0],
    ['NMI exiting', NMI_EXITING, NMI_BLOCKING],
    ['virtual NMIs', NMI_EXITING | VIRTUAL, 0],
  ])('IRET under %s', (_, pin, blocking) => {
    const guest = eventGuest(1 | pin);
    guest.set(field.GUEST_INTERRUPTIBILITY_INFO, NMI_BLOCKING);
    guest.load(layout.code + 0x100, 'f4');
    expect(guest.run('6a10 6800000200 6802000000 6a08 6800010100 48cf')).toBe(exitReason.HLT);
    expect(guest.get(field.GUEST_INTERRUPTIBILITY_INFO)).toBe(blocking);
  });
});

describe('monitor trap flag', () => {
  it('exits after each instruction', () => {
    const guest = eventGuest();
    guest.enable(field.CPU_BASED_VM_EXEC_CONTROL, MONITOR_TRAP);
    expect(guest.run('90 48ffc0 90')).toBe(exitReason.MONITOR_TRAP_FLAG);
    expect(rip(guest)).toBe(1);
    expect(guest.resume()).toBe(exitReason.MONITOR_TRAP_FLAG);
    expect(rip(guest)).toBe(4);
  });

  it('injected as an event exits before the first instruction', () => {
    const guest = eventGuest();
    guest.set(field.VM_ENTRY_INTR_INFO_FIELD, VALID + 0x700);
    expect(guest.run('90')).toBe(exitReason.MONITOR_TRAP_FLAG);
    expect(rip(guest)).toBe(0);
  });
});

describe('VM entry', () => {
  const FAILED = exitReason.INVALID_STATE + VALID;

  it.each([
    ['CR0 without PE', field.GUEST_CR0, 0x8000_0020],
    ['CR0 without PG', field.GUEST_CR0, 0x21],
    ['CR0 without NE', field.GUEST_CR0, 0x8000_0011],
    ['CR4 without VMXE', field.GUEST_CR4, 0x20],
    ['IA-32e mode without PAE', field.GUEST_CR4, 0x2000],
    ['EFER without LMA in IA-32e mode', field.GUEST_IA32_EFER, 0x100],
    ['RFLAGS without bit 1', field.GUEST_RFLAGS, 0],
    ['RFLAGS with VM in IA-32e mode', field.GUEST_RFLAGS, 0x2_0002],
    ['RIP that is not canonical', field.GUEST_RIP, 0x8000_0000_0000n],
    ['CS that is not present', field.GUEST_CS_AR_BYTES, 0xa01b],
    ['CS with L and D', field.GUEST_CS_AR_BYTES, 0xe09b],
    ['TR that is unusable', field.GUEST_TR_AR_BYTES, 0x1_008b],
    ['TR that is not busy', field.GUEST_TR_AR_BYTES, 0x89],
    ['an activity state that does not exist', field.GUEST_ACTIVITY_STATE, 4],
    ['blocking by STI and MOV SS', field.GUEST_INTERRUPTIBILITY_INFO, 3],
    ['blocking by STI without IF', field.GUEST_INTERRUPTIBILITY_INFO, 1],
    ['an injected interrupt without IF', field.VM_ENTRY_INTR_INFO_FIELD, VALID + 0x55],
    ['a link pointer', field.VMCS_LINK_POINTER, 0x1000],
  ])('%s fails', (_, word, value) => {
    const guest = eventGuest();
    guest.load(layout.code, 'f4');
    guest.set(field.GUEST_RIP, layout.code);
    guest.set(word, value);
    expect(guest.resume()).toBe(FAILED);
    expect(guest.get(field.VM_EXIT_REASON)).toBe(FAILED);
    expect(guest.processor.instructions).toBe(0);
    expect(guest.big(word)).toBe(BigInt(value));
  });

  it('loads and saves EFER, PAT and debug controls by their controls', () => {
    const guest = new Guest({ controls: { proc: 0x1000_0080, entry: 0xc204, exit: 0x0014_8004 } });
    guest.set(field.MSR_BITMAP, guest.hpa(0x4_0000));
    guest.set(field.GUEST_IA32_PAT, 0x0606_0606_0606_0606n);
    guest.set(field.GUEST_DR7, 0x402);
    // mov ecx, 0x277; rdmsr; mov ebx, eax; mov rsi, dr7; mov al, 0; wrmsr; mov edi, 0x401; mov dr7, rdi; hlt
    guest.run('b977020000 0f32 89c3 0f21fe b000 0f30 bf01040000 0f23ff f4');
    expect(guest.processor.registers.low(3)).toBe(0x0606_0606);
    expect(guest.processor.registers.low(6)).toBe(0x402);
    expect(guest.big(field.GUEST_IA32_PAT)).toBe(0x0606_0606_0606_0600n);
    expect(guest.get(field.GUEST_DR7)).toBe(0x401);
  });

  it('without them leaves the fields of the VMCS', () => {
    const guest = new Guest({ controls: { exit: ACKNOWLEDGE } });
    guest.run('bf01040000 0f23ff f4');
    expect(guest.get(field.GUEST_DR7)).toBe(0x400);
  });

  it('passes general registers through and keeps RSP in the VMCS', () => {
    const guest = eventGuest();
    for (let n = 0; n < 16; n++) guest.processor.registers.setBig(n, 0x1111_2222_0000_0000n + BigInt(n));
    guest.run('f4');
    for (let n = 0; n < 16; n++) {
      expect(guest.processor.registers.big(n)).toBe(
        n === 4 ? BigInt(layout.stack) : 0x1111_2222_0000_0000n + BigInt(n),
      );
    }
    expect(guest.get(field.GUEST_CS_SELECTOR)).toBe(selectors.code);
  });
});
