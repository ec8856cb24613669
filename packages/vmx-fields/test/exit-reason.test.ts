import { describe, expect, it } from 'vitest';
import { EXIT_FAILED_VMENTRY, exitReason, exitReasonFlags, exitReasonName, vmInstructionError } from '../src/index.ts';

describe('exitReasonName', () => {
  it('is the trace symbol of each basic exit reason', () => {
    for (const [name, number] of Object.entries(exitReason)) expect(exitReasonName(number)).toBe(name);
  });

  it('adds FAILED_VMENTRY for a failed entry', () => {
    expect(exitReasonName(EXIT_FAILED_VMENTRY + exitReason.INVALID_STATE)).toBe('INVALID_STATE FAILED_VMENTRY');
    expect(exitReasonName((0x8000_0000 | 34) >> 0)).toBe('MSR_LOAD_FAIL FAILED_VMENTRY');
  });

  it('prints what has no name in hexadecimal', () => {
    expect(exitReasonName(5)).toBe('0x5');
    expect(exitReasonName(0xffff)).toBe('0xffff');
    expect(exitReasonName(0x0800_0000 + exitReason.CPUID)).toBe('CPUID 0x8000000');
    expect(exitReasonName(0x8800_0021)).toBe('INVALID_STATE FAILED_VMENTRY|0x8000000');
  });
});

describe('the numbers', () => {
  it('of exit reasons are distinct and basic', () => {
    const numbers = Object.values(exitReason);
    expect(new Set(numbers).size).toBe(numbers.length);
    expect(Math.max(...numbers)).toBeLessThan(0x10000);
    expect(exitReasonFlags.VMX_EXIT_REASONS_FAILED_VMENTRY).toBe(EXIT_FAILED_VMENTRY);
  });

  it('of VM-instruction errors are distinct, 1 to 28, and leave 14, 21 and 27 unused', () => {
    const numbers = Object.values(vmInstructionError);
    const unused = Array.from({ length: 28 }, (_, index) => index + 1).filter((number) => !numbers.includes(number));
    expect([numbers.length, unused]).toEqual([25, [14, 21, 27]]);
  });
});
