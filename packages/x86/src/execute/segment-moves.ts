import { Attention, type Cpu, Shadow } from '../cpu.ts';
import { raiseUndefinedOpcode } from '../faults.ts';
import type { Executor } from '../instruction.ts';
import { updateMode } from '../mode.ts';
import { loadDataSegment, Segment, selectorOf } from '../segments.ts';
import { isMemory, readOperand, writeOperand, writeRegister } from './operands.ts';

const SEGMENT_REGISTERS = 6;

/** Loads ES, SS, DS, FS or GS for MOV and POP. Loading SS holds interrupts off for the next instruction. */
export function loadSegmentRegister(cpu: Cpu, segment: Segment, selector: number): void {
  loadDataSegment(cpu, segment, selector);
  if (segment !== Segment.SS) return;
  updateMode(cpu);
  cpu.shadow = Shadow.MOV_SS;
  cpu.shadowIsNew = true;
  cpu.attention |= Attention.SHADOW;
}

/** MOV Ev,Sw: 16 bits to memory, zero-extended into a register. `operation` is the segment register. */
export const moveFromSegment: Executor = (cpu, i) => {
  if (i.operation >= SEGMENT_REGISTERS) raiseUndefinedOpcode(cpu);
  const selector = selectorOf(cpu, i.operation);
  if (isMemory(i)) writeOperand(cpu, i, 2, selector, 0);
  else writeRegister(cpu, i.rm, i.width, selector, 0);
};

/** MOV Sw,Ew. */
export const moveToSegment: Executor = (cpu, i) => {
  if (i.operation >= SEGMENT_REGISTERS || i.operation === Segment.CS) raiseUndefinedOpcode(cpu);
  loadSegmentRegister(cpu, i.operation, readOperand(cpu, i, 2));
};
