import { Attention, type Cpu, Shadow } from '../cpu.ts';
import { raiseGeneralProtection } from '../faults.ts';
import { carryFlag, Flag, readFlags, setCarry, writeArithmeticFlags } from '../flags.ts';
import type { Executor } from '../instruction.ts';
import { Slot } from '../slot.ts';

const AH = 1;
const LOW_FLAGS = Flag.CF | Flag.PF | Flag.AF | Flag.ZF | Flag.SF;

function requireIoPrivilege(cpu: Cpu): void {
  if (cpu.cpl > ((cpu.r[Slot.SYSTEM_FLAGS] >>> 12) & 3)) raiseGeneralProtection(cpu);
}

export const clearInterrupts: Executor = (cpu) => {
  requireIoPrivilege(cpu);
  cpu.r[Slot.SYSTEM_FLAGS] &= ~Flag.IF;
};

/** STI: interrupts stay off for the next instruction, unless they were on already. */
export const setInterrupts: Executor = (cpu) => {
  requireIoPrivilege(cpu);
  const { r } = cpu;
  if ((r[Slot.SYSTEM_FLAGS] & Flag.IF) !== 0) return;
  r[Slot.SYSTEM_FLAGS] |= Flag.IF;
  cpu.shadow = Shadow.STI;
  cpu.shadowIsNew = true;
  cpu.attention |= Attention.SHADOW | Attention.EVENT;
};

export const clearDirection: Executor = (cpu) => {
  cpu.r[Slot.SYSTEM_FLAGS] &= ~Flag.DF;
};

export const setDirection: Executor = (cpu) => {
  cpu.r[Slot.SYSTEM_FLAGS] |= Flag.DF;
};

export const clearCarry: Executor = (cpu) => setCarry(cpu.r, false);
export const setCarryFlag: Executor = (cpu) => setCarry(cpu.r, true);
export const complementCarry: Executor = (cpu) => setCarry(cpu.r, carryFlag(cpu.r) === 0);

export const loadAhFromFlags: Executor = (cpu) => {
  cpu.r8[AH] = readFlags(cpu.r) & 0xff;
};

export const storeAhIntoFlags: Executor = (cpu) => {
  const { r } = cpu;
  writeArithmeticFlags(r, (readFlags(r) & ~LOW_FLAGS) | (cpu.r8[AH] & LOW_FLAGS));
};
