import { field } from '@nvmx/vmx-fields';
import { afterStep, atBoundary } from './boundary.ts';
import { type Cpu, Exiting, UNWIND } from './cpu.ts';
import { runBlock } from './dispatch.ts';
import { handleFault } from './exceptions.ts';
import { Vector } from './faults.ts';
import { fetchBlock } from './fetch.ts';
import { Attribute, type Instruction } from './instruction.ts';
import { updateMode } from './mode.ts';
import { Segment } from './segments.ts';
import { Slot } from './slot.ts';

const { VM_EXIT_INSTRUCTION_LEN } = field;
const NOTHING: Instruction[] = [];

/** Runs until a VM exit is taken. RIP, flags and counters are then as the guest left them. */
export function run(cpu: Cpu): void {
  const { r } = cpu;
  let list = NOTHING;
  for (;;) {
    try {
      for (;;) {
        cpu.position = 0;
        let limit = cpu.quota;
        if (cpu.attention !== 0 || limit <= 0) limit = atBoundary(cpu);
        if (limit === 0) return;
        const flags = r[Slot.SYSTEM_FLAGS];
        const watched = cpu.attention !== 0;
        const block = fetchBlock(cpu);
        list = block.list;
        cpu.blockEnd = Math.min(block.count, limit);
        runBlock(cpu, list);
        const done = cpu.position;
        const i = list[done - 1];
        if (cpu.exiting !== Exiting.NO) {
          retire(cpu, done - 1);
          if (cpu.exiting === Exiting.INSTRUCTION) standAt(cpu, i.start);
          return;
        }
        if ((i.attributes & Attribute.SETS_RIP) === 0) standAt(cpu, i.next);
        retire(cpu, done);
        if (watched || cpu.attention !== 0) afterStep(cpu, flags, (i.attributes & Attribute.DELIVERS) !== 0);
      }
    } catch (thrown) {
      if (thrown !== UNWIND) throw thrown;
      unwind(cpu, list, cpu.position);
      if (cpu.exiting !== Exiting.NO) return;
    }
  }
}

function retire(cpu: Cpu, count: number): void {
  cpu.instructions += count;
  cpu.quota -= count;
}

/** RIP at an offset of the page that is executed. */
function standAt(cpu: Cpu, offset: number): void {
  const { r } = cpu;
  const low = (r[Slot.PAGE] + offset) | 0;
  r[Slot.RIP] = low;
  r[Slot.RIP + 1] = cpu.mode === 64 ? r[Slot.PAGE + 1] + (low >>> 0 < offset ? 1 : 0) : 0;
}

/** The last of `done` instructions was left by a fault or by an exit of a memory access; 0: the fetch was. */
function unwind(cpu: Cpu, list: readonly Instruction[], done: number): void {
  const i = done === 0 ? undefined : list[done - 1];
  if (i !== undefined) {
    retire(cpu, done - 1);
    standAt(cpu, i.start);
  }
  if (cpu.exiting !== Exiting.NO) {
    cpu.systemAccess = false;
    updateMode(cpu);
    if (i !== undefined) cpu.v[VM_EXIT_INSTRUCTION_LEN] = i.length;
    return;
  }
  if (cpu.faultIsNonCanonical && i !== undefined && usesStackSegment(cpu, i)) cpu.faultVector = Vector.SS;
  handleFault(cpu);
}

/** Whether a non-canonical address of an instruction came through the stack segment. */
function usesStackSegment(cpu: Cpu, i: Instruction): boolean {
  const isOperand = (i.attributes & Attribute.MEMORY) !== 0;
  const isStack = (i.attributes & Attribute.STACK) !== 0;
  if (!isStack) return isOperand && i.segmentNumber === Segment.SS;
  return !isOperand || i.segmentNumber === Segment.SS || cpu.faultHigh === cpu.r[Slot.RSP + 1];
}
