import { field } from '@nvmx/vmx-fields';
import { Attention, type Cpu } from './cpu.ts';
import { Flag } from './flags.ts';
import { dplOf, Rights, rightsOf, Segment } from './segments.ts';
import { Slot } from './slot.ts';
import { selectTranslations } from './translation.ts';

const { GUEST_CR0, GUEST_CR3, GUEST_CR4, VIRTUAL_PROCESSOR_ID } = field;
const EFER_LMA = 0x400;
const EFER_NXE = 0x800;
const CR0_PE = 1;
const CR0_WP = 0x1_0000;
const CR4_SMEP_SMAP = 0x30_0000;
const CR4_PCIDE = 0x2_0000;
const PCID = 0xfff;
const SECONDARY_VPID = 0x20;

/** Recomputes what follows from segments, control registers and RFLAGS: mode, CPL, translations. */
export function updateMode(cpu: Cpu): void {
  const code = rightsOf(cpu, Segment.CS);
  const protectedMode = (cpu.v[GUEST_CR0] & CR0_PE) !== 0 && (cpu.r[Slot.SYSTEM_FLAGS] & Flag.VM) === 0;
  cpu.cpl = dplOf(rightsOf(cpu, Segment.SS));
  const big = (code & Rights.BIG) !== 0 ? 32 : 16;
  if ((cpu.efer & EFER_LMA) !== 0) cpu.mode = (code & Rights.LONG) !== 0 ? 64 : big;
  else cpu.mode = protectedMode ? big : 16;
  if (cpu.context.mode !== cpu.mode) {
    cpu.context.flushFetches();
    cpu.context.mode = cpu.mode;
  }
  selectTranslations(cpu);
}

/**
 * Chooses the translation context of VPID, EPT pointer and PCID. Its entries hold what an access may do, so that they do
 * not outlive the rules that they were made under: a VM entry can change those without any flush by the guest.
 */
export function selectContext(cpu: Cpu): void {
  const { v } = cpu;
  const rules = (v[GUEST_CR0] & CR0_WP) | (v[GUEST_CR4] & CR4_SMEP_SMAP) | (cpu.efer & EFER_NXE);
  const vpid = (cpu.secondaryControls & SECONDARY_VPID) !== 0 ? v[VIRTUAL_PROCESSOR_ID] : 0;
  const pcid = (v[GUEST_CR4] & CR4_PCIDE) !== 0 ? v[GUEST_CR3] & PCID : 0;
  cpu.context = cpu.tlbs.select(vpid, cpu.eptPage, pcid);
  if (cpu.context.rules === rules) return;
  cpu.context.flush();
  cpu.context.rules = rules;
}

/** The VPID that tags the translations of the guest; 0 when the control is off. */
export function currentVpid(cpu: Cpu): number {
  return (cpu.secondaryControls & SECONDARY_VPID) !== 0 ? cpu.v[VIRTUAL_PROCESSOR_ID] : 0;
}

/** After RFLAGS changed as a whole: what the main loop has to watch. */
export function updateAttention(cpu: Cpu): void {
  const flags = cpu.r[Slot.SYSTEM_FLAGS];
  cpu.attention =
    (cpu.attention & ~(Attention.TRAP_FLAG | Attention.RESUME_FLAG)) |
    Attention.EVENT |
    ((flags & Flag.TF) !== 0 ? Attention.TRAP_FLAG : 0) |
    ((flags & Flag.RF) !== 0 ? Attention.RESUME_FLAG : 0);
}
