import type { Machine, MachineOutcome } from '@nvmx/machine';
import { field } from '@nvmx/vmx-fields';

/** How a guest ended, as the one who waits for it sees it. */
export type GuestEnd = Exclude<MachineOutcome, { readonly kind: 'budget' }> | { readonly kind: 'timeout' };

/** One line that says how the guest failed; undefined when it reported success. */
export function describeEnd(
  end: GuestEnd,
  machine: Machine,
  o: { readonly timeoutSeconds?: number } = {},
): string | undefined {
  switch (end.kind) {
    case 'exit':
      return end.code === 0 ? undefined : `the guest reports failure: exit code ${end.code}`;
    case 'halted':
      return `the guest halted for ever: HLT, and no interrupt is on its way, at RIP ${currentRip(machine)}`;
    case 'timeout':
      return `the guest still runs after ${o.timeoutSeconds} s, at RIP ${currentRip(machine)}`;
    case 'died':
      return `the guest died: ${end.reason}, at RIP ${hex(end.rip)}${instruction(end.bytes)}`;
  }
}

/** Where the vCPU stands, and in which guest. */
function currentRip({ vcpu }: Machine): string {
  const level = vcpu.nested.guestMode ? ' of L2' : '';
  return `${hex(vcpu.vmcs.readBig(field.GUEST_RIP))}${level}`;
}

function instruction(bytes: Uint8Array): string {
  if (bytes.length === 0) return '';
  return `, bytes ${Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(' ')}`;
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}
