import { exitReason, exitReasonFlags } from './generated/exit-reasons.ts';

/** Bit 31 of the exit reason: the exit is a failed VM entry. */
export const EXIT_FAILED_VMENTRY = 0x8000_0000;

/**
 * The exit reason as KVM's trace events print it: `EPT_VIOLATION`, or `INVALID_STATE FAILED_VMENTRY`.
 * A number without a name is printed in hexadecimal.
 */
export function exitReasonName(reason: number): string {
  names ??= new Map(Object.entries(exitReason).map(([name, number]) => [number, name]));
  const basic = reason & 0xffff;
  const flags = (reason & 0xffff_0000) >>> 0;
  const name = names.get(basic) ?? hex(basic);
  return flags === 0 ? name : `${name} ${flagNames(flags)}`;
}

let names: Map<number, string> | undefined;

function flagNames(flags: number): string {
  const failed = (flags & exitReasonFlags.VMX_EXIT_REASONS_FAILED_VMENTRY) !== 0;
  const rest = flags & 0x7fff_0000;
  return [...(failed ? ['FAILED_VMENTRY'] : []), ...(rest === 0 ? [] : [hex(rest)])].join('|');
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
