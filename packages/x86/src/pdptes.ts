import { field } from '@nvmx/vmx-fields';
import type { Cpu } from './cpu.ts';
import { raiseGeneralProtection } from './faults.ts';
import { reservedHighMask } from './paging.ts';

const { GUEST_PDPTR0 } = field;
const COUNT = 4;
const PRESENT = 1;
const RESERVED_LOW = 0x1e6;
const RESERVED_HIGH = 0xfff0_0000;

/** Loads the four PDPTEs of PAE paging, as MOV to CR3 does. A reserved bit in one that is present: #GP(0). */
export function loadPdptes(cpu: Cpu, cr3: number): void {
  const values = new Int32Array(2 * COUNT);
  const reservedHigh = reservedHighMask(cpu.physicalAddressBits) | RESERVED_HIGH;
  for (let n = 0; n < COUNT; n++) {
    const host = cpu.translator.table((cr3 & ~31 & 0xffff_ffff) >>> 0) + 8 * n;
    const exists = host < cpu.memoryBytes;
    const low = exists ? cpu.i32[host / 4] : -1;
    const high = exists ? cpu.i32[host / 4 + 1] : -1;
    const reserved = (low & RESERVED_LOW) !== 0 || (high & reservedHigh) !== 0;
    if ((low & PRESENT) !== 0 && reserved) raiseGeneralProtection(cpu);
    values[2 * n] = low;
    values[2 * n + 1] = high;
  }
  for (let n = 0; n < 2 * COUNT; n++) cpu.v[GUEST_PDPTR0 + n] = values[n];
}
