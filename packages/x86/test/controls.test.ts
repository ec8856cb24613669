import { exceptionVector, exitReason, field, msr } from '@nvmx/vmx-fields';
import { describe, expect, it } from 'vitest';
import { RAX, RBX, RCX, RDX, RSI } from '../src/index.ts';
import { controls, Guest, layout } from './guest.ts';

const SECONDARY = { DESC: 4, RDTSCP: 8, WBINVD: 0x40, RDRAND: 0x800, INVPCID: 0x1000, RDSEED: 0x1_0000 } as const;

/** Code, the control that makes it exit, the exit. All of it runs to HLT without the control. */
const primary = [
  ['INVLPG', '0f0138', 0x200, exitReason.INVLPG],
  ['MWAIT', '0f01c9', 0x400, exitReason.MWAIT_INSTRUCTION],
  ['RDTSC', '0f31', 0x1000, exitReason.RDTSC],
  ['MOV to CR3', '0f20da 0f22da', 0x8000, exitReason.CR_ACCESS],
  ['MOV from CR3', '0f20da', 0x1_0000, exitReason.CR_ACCESS],
  ['MOV to CR8', '31d2 440f22c2', 0x8_0000, exitReason.CR_ACCESS],
  ['MOV from CR8', '440f20c2', 0x10_0000, exitReason.CR_ACCESS],
  ['MOV DR', '0f21f3', 0x80_0000, exitReason.DR_ACCESS],
  ['IN', 'e460', 0x100_0000, exitReason.IO_INSTRUCTION],
  ['MONITOR', '31c9 0f01c8', 0x2000_0000, exitReason.MONITOR_INSTRUCTION],
  ['PAUSE', 'f390', 0x4000_0000, exitReason.PAUSE_INSTRUCTION],
] as const;

const secondary = [
  ['SGDT', '0f010425 00000300', SECONDARY.DESC, exitReason.GDTR_IDTR],
  ['LLDT', '31c0 0f00d0', SECONDARY.DESC, exitReason.LDTR_TR],
  ['WBINVD', '0f09', SECONDARY.WBINVD, exitReason.WBINVD],
  ['RDRAND', '480fc7f0', SECONDARY.RDRAND, exitReason.RDRAND],
  ['RDSEED', '480fc7f8', SECONDARY.RDSEED, exitReason.RDSEED],
] as const;

describe('an exiting control decides whether an instruction exits', () => {
  it.each(primary)('%s', (_, code, bits, reason) => {
    expect(new Guest().run(`${code} f4`)).toBe(exitReason.HLT);
    const guest = new Guest();
    guest.enable(field.CPU_BASED_VM_EXEC_CONTROL, bits);
    expect(guest.run(`${code} f4`)).toBe(reason);
  });

  it.each(secondary)('%s', (_, code, bits, reason) => {
    expect(new Guest().run(`${code} f4`)).toBe(exitReason.HLT);
    const guest = new Guest();
    guest.enable(field.SECONDARY_VM_EXEC_CONTROL, bits);
    expect(guest.run(`${code} f4`)).toBe(reason);
  });

  it('secondary controls count only when they are activated', () => {
    const guest = new Guest();
    guest.set(field.CPU_BASED_VM_EXEC_CONTROL, controls.HLT);
    guest.set(field.SECONDARY_VM_EXEC_CONTROL, SECONDARY.WBINVD);
    // EPT is off as well. Its tables are paging structures too: with them in CR3 the guest runs on.
    guest.set(field.GUEST_CR3, guest.eptPointer & ~0xfff);
    expect(guest.run('0f09 f4')).toBe(exitReason.HLT);
  });

  it.each([
    ['CPUID', '0fa2', exitReason.CPUID],
    ['INVD', '0f08', exitReason.INVD],
    ['RDPMC with its control', '0f33', exitReason.RDPMC],
  ])('%s exits', (_, code, reason) => {
    const guest = new Guest();
    guest.enable(field.CPU_BASED_VM_EXEC_CONTROL, 0x800);
    expect(guest.run(code)).toBe(reason);
  });

  it.each([
    ['RDTSCP', '0f01f9 f4', SECONDARY.RDTSCP],
    ['INVPCID', '31db 660f38821c2500000300 f4', SECONDARY.INVPCID],
  ])('%s is undefined without its enabling control', (_, code, bits) => {
    const guest = new Guest();
    guest.set(field.EXCEPTION_BITMAP, 2 ** exceptionVector.UD);
    expect(guest.run(code)).toBe(exitReason.EXCEPTION_NMI);
    guest.enable(field.SECONDARY_VM_EXEC_CONTROL, bits);
    expect(guest.run(code)).toBe(exitReason.HLT);
  });

  it('RDTSCP exits by RDTSC exiting, INVPCID by INVLPG exiting', () => {
    const guest = new Guest();
    guest.enable(field.SECONDARY_VM_EXEC_CONTROL, SECONDARY.RDTSCP | SECONDARY.INVPCID);
    guest.enable(field.CPU_BASED_VM_EXEC_CONTROL, 0x1200);
    expect(guest.run('0f01f9')).toBe(exitReason.RDTSCP);
    expect(guest.run('660f38821c2500000300')).toBe(exitReason.INVPCID);
  });

  it('HLT exiting off: the guest halts until the host ticks', () => {
    const guest = new Guest({ controls: { proc: 0 } });
    expect(guest.run('f4 90')).toBe(exitReason.EXTERNAL_INTERRUPT);
    expect(guest.get(field.GUEST_ACTIVITY_STATE)).toBe(1);
    expect(guest.get(field.GUEST_RIP)).toBe(layout.code + 1);
  });
});

describe('qualifications', () => {
  const run = (code: string, bits: number): bigint => {
    const guest = new Guest();
    guest.enable(field.CPU_BASED_VM_EXEC_CONTROL, bits);
    guest.run(code);
    return guest.big(field.EXIT_QUALIFICATION);
  };

  it.each([
    ['mov cr3, rdx', '0f22da', 0x8000, 0x203n],
    ['mov rdx, cr3', '0f20da', 0x1_0000, 0x213n],
    ['mov cr8, rdx', '440f22c2', 0x8_0000, 0x208n],
    ['mov r9, cr8', '450f20c1', 0x10_0000, 0x918n],
    ['mov dr7, rax', '0f23f8', 0x80_0000, 0x007n],
    ['mov rbx, dr6', '0f21f3', 0x80_0000, 0x316n],
    ['in al, 0x60', 'e460', 0x100_0000, 0x60_0048n],
    ['out 0x80, al', 'e680', 0x100_0000, 0x80_0040n],
    ['out dx, eax', '66ba3456 ef', 0x100_0000, 0x5634_0003n],
    ['in ax, dx', '66ba3412 66ed', 0x100_0000, 0x1234_0009n],
    ['rep insb', '66ba3412 b901000000 f36c', 0x100_0000, 0x1234_0038n],
    ['outsw', '66ba3412 666f', 0x100_0000, 0x1234_0011n],
    ['invlpg [0x12345]', '0f013c2545230100', 0x200, 0x12345n],
  ])('%s', (_, code, bits, qualification) => {
    expect(run(code, bits)).toBe(qualification);
  });

  it('string I/O has the linear address, the address size and the segment', () => {
    const guest = new Guest();
    guest.enable(field.CPU_BASED_VM_EXEC_CONTROL, 0x100_0000);
    guest.run('be00000300 6466 6f');
    expect(guest.get(field.GUEST_LINEAR_ADDRESS)).toBe(0x30000);
    expect(guest.get(field.VMX_INSTRUCTION_INFO)).toBe((2 << 7) | (4 << 15));
  });

  it('REP INS with a count of 0 does not exit', () => {
    const guest = new Guest();
    guest.enable(field.CPU_BASED_VM_EXEC_CONTROL, 0x100_0000);
    expect(guest.run('31c9 f36c f4')).toBe(exitReason.HLT);
  });
});

describe('I/O bitmaps', () => {
  const withBitmaps = (): Guest => {
    const guest = new Guest();
    guest.enable(field.CPU_BASED_VM_EXEC_CONTROL, 0x200_0000);
    guest.set(field.IO_BITMAP_A, guest.hpa(0x4_0000));
    guest.set(field.IO_BITMAP_B, guest.hpa(0x4_1000));
    return guest;
  };
  const setPort = (guest: Guest, port: number): void => {
    const at = port < 0x8000 ? 0x4_0000 + (port >> 3) : 0x4_1000 + ((port - 0x8000) >> 3);
    guest.memory.u8[guest.hpa(at)] |= 1 << (port & 7);
  };
  /** Moves a port into DX, then runs the instruction. */
  const access = (guest: Guest, port: number, code: string): number =>
    guest.run(
      `66ba${(port & 0xff).toString(16).padStart(2, '0')}${(port >> 8).toString(16).padStart(2, '0')}${code}f4`,
    );

  it.each([0, 1, 7, 8, 0x7ffe, 0x7fff, 0x8000, 0x8001, 0xfffe, 0xffff])('port %i exits only by its own bit', (port) => {
    const guest = withBitmaps();
    setPort(guest, port);
    expect(access(guest, port, 'ec')).toBe(exitReason.IO_INSTRUCTION);
    for (const other of [port - 1, port + 1]) {
      if (other >= 0 && other <= 0xffff) expect(access(guest, other, 'ec')).toBe(exitReason.HLT);
    }
  });

  it.each([
    ['ec', 1],
    ['66ed', 2],
    ['ed', 4],
  ])('an access exits when any of its bytes has a bit: %s', (code, bytes) => {
    const guest = withBitmaps();
    setPort(guest, 0x8000);
    for (let port = 0x8000 - 5; port <= 0x8001; port++) {
      const touches = port <= 0x8000 && port + bytes > 0x8000;
      expect(access(guest, port, code)).toBe(touches ? exitReason.IO_INSTRUCTION : exitReason.HLT);
    }
  });

  it('an access that wraps around the last port exits', () => {
    expect(access(withBitmaps(), 0xffff, '66ed')).toBe(exitReason.IO_INSTRUCTION);
    expect(access(withBitmaps(), 0xfffe, '66ed')).toBe(exitReason.HLT);
  });

  it('bitmaps win over unconditional exiting', () => {
    const guest = withBitmaps();
    guest.enable(field.CPU_BASED_VM_EXEC_CONTROL, 0x100_0000);
    expect(access(guest, 0x60, 'ec')).toBe(exitReason.HLT);
  });
});

describe('CR0 and CR4 masks and read shadows', () => {
  it.each([
    ['CR0', '0f20c0', field.CR0_GUEST_HOST_MASK, field.CR0_READ_SHADOW, 0x8001_0031],
    ['CR4', '0f20e0', field.CR4_GUEST_HOST_MASK, field.CR4_READ_SHADOW, 0x2020],
  ])('%s reads masked bits from the shadow, for each bit', (_, code, mask, shadow, value) => {
    for (let bit = 0; bit < 32; bit++) {
      const guest = new Guest();
      guest.set(mask, 2 ** bit);
      guest.set(shadow, ~value >>> 0);
      guest.run(`${code} f4`);
      expect(guest.processor.registers.low(RAX) >>> 0).toBe((value ^ (2 ** bit)) >>> 0);
    }
  });

  it('a write that agrees with the shadow does not exit and leaves masked bits', () => {
    const guest = new Guest();
    guest.set(field.CR0_GUEST_HOST_MASK, 0x8000_0021);
    guest.set(field.CR0_READ_SHADOW, 0x8000_0001);
    // mov eax, 0x8000000b (no NE, as the shadow says); mov cr0, rax
    expect(guest.run('b80b000080 0f22c0 f4')).toBe(exitReason.HLT);
    expect(guest.get(field.GUEST_CR0)).toBe(0x8000_003b);
  });

  it('a write that differs from the shadow in a masked bit exits and changes nothing', () => {
    const guest = new Guest();
    guest.set(field.CR4_GUEST_HOST_MASK, 0x2000);
    expect(guest.run('b820200000 0f22e0 f4')).toBe(exitReason.CR_ACCESS);
    expect(guest.get(field.EXIT_QUALIFICATION)).toBe(4);
    expect(guest.get(field.GUEST_CR4)).toBe(0x2020);
  });

  it.each([
    ['not masked', 0, 0, exitReason.HLT, 0],
    ['masked, shadow 0', 8, 0, exitReason.HLT, 8],
    ['masked, shadow 1', 8, 8, exitReason.CR_ACCESS, 8],
  ])('CLTS with TS %s', (_, mask, shadow, reason, left) => {
    const guest = new Guest();
    guest.set(field.GUEST_CR0, 0x8001_0039);
    guest.set(field.CR0_GUEST_HOST_MASK, mask);
    guest.set(field.CR0_READ_SHADOW, shadow);
    expect(guest.run('0f06 f4')).toBe(reason);
    expect(guest.get(field.GUEST_CR0) & 8).toBe(left);
    if (reason === exitReason.CR_ACCESS) expect(guest.get(field.EXIT_QUALIFICATION)).toBe(0x20);
  });

  it('LMSW exits by bits 3:1 that differ, and by PE only when it is set', () => {
    const run = (source: number, mask: number, shadow: number): number => {
      const guest = new Guest();
      guest.set(field.CR0_GUEST_HOST_MASK, mask);
      guest.set(field.CR0_READ_SHADOW, shadow);
      guest.processor.registers.set(RAX, source, 0);
      const reason = guest.run('0f01f0 f4');
      return reason === exitReason.CR_ACCESS ? guest.get(field.EXIT_QUALIFICATION) : -1;
    };
    expect(run(1, 1, 0)).toBe(0x1_0030);
    expect(run(0, 1, 1)).toBe(-1);
    expect(run(8, 8, 0)).toBe(0x8_0030);
    expect(run(8, 8, 8)).toBe(-1);
    expect(run(8, 0, 0)).toBe(-1);
  });

  it('LMSW from memory has the linear address', () => {
    const guest = new Guest();
    guest.set(field.CR0_GUEST_HOST_MASK, 8);
    guest.write32(layout.data, 0xf);
    guest.run('0f01342500000300');
    expect(guest.get(field.EXIT_QUALIFICATION)).toBe(0xf_0070);
    expect(guest.get(field.GUEST_LINEAR_ADDRESS)).toBe(layout.data);
  });

  it.each([0, 1, 2, 3, 4])('a CR3 load that equals one of %i target values does not exit', (count) => {
    for (let target = 0; target < 4; target++) {
      const guest = new Guest();
      guest.enable(field.CPU_BASED_VM_EXEC_CONTROL, 0x8000);
      guest.set(field.CR3_TARGET_COUNT, count);
      guest.set(field.CR3_TARGET_VALUE0 + 2 * target, layout.pml4);
      expect(guest.run('b800100000 0f22d8 f4')).toBe(target < count ? exitReason.HLT : exitReason.CR_ACCESS);
    }
  });
});

describe('MSR bitmaps', () => {
  const BITMAP = 0x4_0000;
  const withBitmap = (): Guest => {
    const guest = new Guest();
    guest.enable(field.CPU_BASED_VM_EXEC_CONTROL, 0x1000_0000);
    guest.set(field.MSR_BITMAP, guest.hpa(BITMAP));
    return guest;
  };
  const read = (guest: Guest, index: number): number => {
    guest.processor.registers.set(RCX, index | 0, 0);
    return guest.run('0f32 f4');
  };

  it('without them every access exits', () => {
    expect(read(new Guest(), msr.IA32_EFER)).toBe(exitReason.MSR_READ);
    const guest = new Guest();
    guest.processor.registers.set(RCX, msr.IA32_EFER | 0, 0);
    expect(guest.run('0f30 f4')).toBe(exitReason.MSR_WRITE);
  });

  it.each([msr.IA32_SYSENTER_CS, msr.IA32_PAT, msr.IA32_EFER, msr.IA32_FS_BASE, msr.IA32_TSC_AUX])(
    'MSR %i exits by its own bit of each half',
    (index) => {
      const high = index >= 0xc000_0000;
      const at = (high ? 0x400 : 0) + ((index & 0x1fff) >> 3);
      const bit = 1 << (index & 7);
      const guest = withBitmap();
      expect(read(guest, index)).toBe(exitReason.HLT);
      guest.memory.u8[guest.hpa(BITMAP) + at] = bit;
      expect(read(guest, index)).toBe(exitReason.MSR_READ);
      guest.memory.u8[guest.hpa(BITMAP) + at] = 0xff ^ bit;
      guest.memory.u8[guest.hpa(BITMAP) + 0x800 + at] = bit;
      expect(read(guest, index)).toBe(exitReason.HLT);
      expect(guest.run('0f32 0f30 f4')).toBe(exitReason.MSR_WRITE);
    },
  );

  it.each([0x2000, 0xbfff_ffff, 0xc000_2000, 0x4000_0000])('MSR %i outside of the ranges exits', (index) => {
    expect(read(withBitmap(), index)).toBe(exitReason.MSR_READ);
  });

  it('an MSR that does not exist is #GP(0) when it does not exit', () => {
    const guest = withBitmap();
    guest.set(field.EXCEPTION_BITMAP, 2 ** exceptionVector.GP);
    expect(read(guest, 0x999)).toBe(exitReason.EXCEPTION_NMI);
  });

  it('FS_BASE is the base that FS-relative addresses use', () => {
    const guest = withBitmap();
    guest.processor.registers.set(RCX, msr.IA32_FS_BASE | 0, 0);
    guest.processor.registers.set(RAX, layout.data, 0);
    guest.processor.registers.set(RDX, 0, 0);
    guest.write32(layout.data + 8, 0x1234_5678);
    // wrmsr; mov esi, fs:[8]; hlt
    guest.run('0f30 648b342508000000 f4');
    expect(guest.processor.registers.low(RSI)).toBe(0x1234_5678);
    expect(guest.get(field.GUEST_FS_BASE)).toBe(layout.data);
  });

  it('SWAPGS exchanges GS_BASE and KERNEL_GS_BASE', () => {
    const guest = withBitmap();
    guest.processor.writeMsr(msr.IA32_KERNEL_GS_BASE, 0xffff_8000_0000_1000n);
    guest.set(field.GUEST_GS_BASE, 0x2000);
    guest.run('0f01f8 f4');
    expect(guest.big(field.GUEST_GS_BASE)).toBe(0xffff_8000_0000_1000n);
    expect(guest.processor.readMsr(msr.IA32_KERNEL_GS_BASE)).toBe(0x2000n);
  });

  it.each([
    ['EFER with a reserved bit', msr.IA32_EFER, 0x2000, 0],
    ['EFER with LME changed under paging', msr.IA32_EFER, 0x801, 0],
    ['FS_BASE that is not canonical', msr.IA32_FS_BASE, 0, 0x8000],
    ['PAT with a reserved type', msr.IA32_PAT, 2, 0],
  ])('a write of %s is #GP(0)', (_, index, low, high) => {
    const guest = withBitmap();
    guest.set(field.EXCEPTION_BITMAP, 2 ** exceptionVector.GP);
    guest.processor.registers.set(RCX, index | 0, 0);
    guest.processor.registers.set(RAX, low, 0);
    guest.processor.registers.set(RDX, high, 0);
    expect(guest.run('0f30 f4')).toBe(exitReason.EXCEPTION_NMI);
    expect(guest.get(field.VM_EXIT_INTR_INFO) & 0xff).toBe(exceptionVector.GP);
  });
});

describe('time-stamp counter', () => {
  const tsc = (guest: Guest): bigint => {
    const { registers } = guest.processor;
    return BigInt(registers.low(RAX) >>> 0) + (BigInt(registers.low(RDX) >>> 0) << 32n);
  };

  it('counts retired instructions, exactly to the instruction', () => {
    const guest = new Guest();
    guest.run('90 90 90 0f31 f4');
    expect(tsc(guest)).toBe(3n);
    guest.run('0f31 f4');
    expect(tsc(guest)).toBe(4n);
  });

  it('is offset under TSC offsetting, negative offsets included', () => {
    const guest = new Guest();
    guest.set(field.TSC_OFFSET, 0xffff_ffff_ffff_fff0n);
    guest.run('0f31 f4');
    expect(tsc(guest)).toBe(0n);
    guest.enable(field.CPU_BASED_VM_EXEC_CONTROL, 8);
    guest.run('0f31 f4');
    expect(tsc(guest)).toBe(0xffff_ffff_ffff_fff1n);
  });

  it('advances with the host', () => {
    const guest = new Guest();
    guest.processor.advanceTimeStamp(2 ** 33);
    guest.run('0f31 f4');
    expect(tsc(guest)).toBe(2n ** 33n);
    expect(guest.processor.timeStamp).toBe(2 ** 33 + 1);
  });
});

describe('descriptor tables', () => {
  it('SGDT stores what LGDT loaded', () => {
    const guest = new Guest();
    guest.memory.u16[guest.hpa(layout.data) / 2] = 0x77;
    guest.write64(layout.data + 8, 0n);
    guest.memory.u8.set([0x77, 0, 1, 2, 3, 4, 5, 0, 0, 0], guest.hpa(layout.data));
    // lgdt [0x30000]; sgdt [0x30010]; hlt
    guest.run('0f01142500000300 0f01042510000300 f4');
    expect(guest.read64(layout.data + 0x10)).toBe(guest.read64(layout.data));
    expect(guest.get(field.GUEST_GDTR_LIMIT)).toBe(0x77);
    expect(guest.big(field.GUEST_GDTR_BASE)).toBe(0x5_0403_0201n);
  });

  it('LTR loads a 16-byte descriptor and marks it busy', () => {
    const guest = new Guest();
    guest.write64(layout.gdt + 0x28, 0x0000_8900_6000_0067n);
    guest.write64(layout.gdt + 0x30, 0xffff_8000n);
    guest.run('b828000000 0f00d8 0f00c9 f4');
    expect(guest.big(field.GUEST_TR_BASE)).toBe(0xffff_8000_0000_6000n);
    expect(guest.get(field.GUEST_TR_AR_BYTES)).toBe(0x8b);
    expect(guest.read32(layout.gdt + 0x2c) & 0x200).toBe(0x200);
    expect(guest.processor.registers.low(RCX)).toBe(0x28);
  });

  it('loading a data segment sets its accessed bit and its fields', () => {
    const guest = new Guest();
    guest.write64(layout.gdt + 0x10, 0x12c0_9234_5678_0fffn);
    guest.run('b810000000 8ec0 f4');
    expect(guest.get(field.GUEST_ES_BASE)).toBe(0x12345678);
    expect(guest.get(field.GUEST_ES_LIMIT)).toBe(0xff_ffff);
    expect(guest.get(field.GUEST_ES_AR_BYTES)).toBe(0xc093);
    expect(guest.read32(layout.gdt + 0x14) & 0x100).toBe(0x100);
    expect(guest.processor.registers.low(RBX)).toBe(0);
  });
});
