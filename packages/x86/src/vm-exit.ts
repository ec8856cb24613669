import { field } from '@nvmx/vmx-fields';
import { type Cpu, Exiting, UNWIND } from './cpu.ts';
import type { Instruction } from './instruction.ts';

const {
  VM_EXIT_REASON,
  EXIT_QUALIFICATION,
  VM_EXIT_INTR_INFO,
  VM_EXIT_INTR_ERROR_CODE,
  VM_EXIT_INSTRUCTION_LEN,
  VMX_INSTRUCTION_INFO,
  IDT_VECTORING_INFO_FIELD,
  IDT_VECTORING_ERROR_CODE,
  GUEST_LINEAR_ADDRESS,
  GUEST_PHYSICAL_ADDRESS,
} = field;

const INFO_VALID = 0x8000_0000 | 0;
const INFO_ERROR_CODE = 0x800;
const TWO_32 = 2 ** 32;

/** Basic exit reasons, SDM volume 3, "VMX Basic Exit Reasons". */
export const enum Exit {
  EXCEPTION_NMI = 0,
  EXTERNAL_INTERRUPT = 1,
  TRIPLE_FAULT = 2,
  INTERRUPT_WINDOW = 7,
  NMI_WINDOW = 8,
  TASK_SWITCH = 9,
  CPUID = 10,
  HLT = 12,
  INVD = 13,
  INVLPG = 14,
  RDPMC = 15,
  RDTSC = 16,
  VMCALL = 18,
  VMCLEAR = 19,
  VMLAUNCH = 20,
  VMPTRLD = 21,
  VMPTRST = 22,
  VMREAD = 23,
  VMRESUME = 24,
  VMWRITE = 25,
  VMXOFF = 26,
  VMXON = 27,
  CR_ACCESS = 28,
  DR_ACCESS = 29,
  IO_INSTRUCTION = 30,
  MSR_READ = 31,
  MSR_WRITE = 32,
  INVALID_STATE = 33,
  MWAIT = 36,
  MONITOR_TRAP_FLAG = 37,
  MONITOR = 39,
  PAUSE = 40,
  TPR_BELOW_THRESHOLD = 43,
  APIC_ACCESS = 44,
  EOI_INDUCED = 45,
  GDTR_IDTR = 46,
  LDTR_TR = 47,
  EPT_VIOLATION = 48,
  EPT_MISCONFIG = 49,
  INVEPT = 50,
  RDTSCP = 51,
  PREEMPTION_TIMER = 52,
  INVVPID = 53,
  WBINVD = 54,
  XSETBV = 55,
  APIC_WRITE = 56,
  RDRAND = 57,
  INVPCID = 58,
  RDSEED = 61,
}

/**
 * Records a VM exit: reason, qualification, and that no event caused it; what interrupted an event delivery goes to the
 * IDT-vectoring fields. The caller adds what its reason defines beyond that, and returns to the main loop.
 */
export function recordExit(cpu: Cpu, reason: Exit, qualificationLow: number, qualificationHigh: number): void {
  const { v } = cpu;
  v[VM_EXIT_REASON] = reason;
  v[EXIT_QUALIFICATION] = qualificationLow;
  v[EXIT_QUALIFICATION + 1] = qualificationHigh;
  v[VM_EXIT_INTR_INFO] = 0;
  v[VM_EXIT_INSTRUCTION_LEN] = 0;
  v[IDT_VECTORING_INFO_FIELD] = cpu.deliveringInfo;
  if (cpu.deliveringInfo !== 0) {
    v[IDT_VECTORING_ERROR_CODE] = cpu.deliveringErrorCode;
    v[VM_EXIT_INSTRUCTION_LEN] = cpu.deliveringLength;
  }
  cpu.blockEnd = 0;
}

/** Exits instead of carrying out an instruction. */
export function exitInstruction(
  cpu: Cpu,
  i: Instruction,
  reason: Exit,
  qualificationLow = 0,
  qualificationHigh = 0,
): void {
  recordExit(cpu, reason, qualificationLow, qualificationHigh);
  cpu.v[VM_EXIT_INSTRUCTION_LEN] = i.length;
  cpu.exiting = Exiting.INSTRUCTION;
}

/** `exitInstruction` with VM-exit instruction information. */
export function exitWithInformation(
  cpu: Cpu,
  i: Instruction,
  o: { readonly reason: Exit; readonly information: number; readonly low?: number; readonly high?: number },
): void {
  exitInstruction(cpu, i, o.reason, o.low, o.high);
  cpu.v[VMX_INSTRUCTION_INFO] = o.information;
}

/** Exits between two instructions. */
export function exitAtBoundary(cpu: Cpu, reason: Exit, qualification = 0): void {
  recordExit(cpu, reason, qualification, 0);
  cpu.exiting = Exiting.BOUNDARY;
}

/** Exits because of an exception, an NMI or an acknowledged interrupt: `info` without the valid bit. */
export function exitForEvent(
  cpu: Cpu,
  o: { readonly reason: Exit; readonly info: number; readonly errorCode: number; readonly length: number },
): void {
  const { v } = cpu;
  recordExit(cpu, o.reason, 0, 0);
  v[VM_EXIT_INTR_INFO] = INFO_VALID | o.info;
  if ((o.info & INFO_ERROR_CODE) !== 0) v[VM_EXIT_INTR_ERROR_CODE] = o.errorCode;
  if (o.length !== 0) v[VM_EXIT_INSTRUCTION_LEN] = o.length;
  cpu.exiting = Exiting.BOUNDARY;
}

/** Leaves the current memory access with an exit about a guest-physical address. */
export function exitForPhysicalAddress(
  cpu: Cpu,
  o: { readonly reason: Exit; readonly qualification: number; readonly physical: number },
): never {
  recordExit(cpu, o.reason, o.qualification, 0);
  cpu.v[GUEST_PHYSICAL_ADDRESS] = o.physical;
  cpu.v[GUEST_PHYSICAL_ADDRESS + 1] = o.physical / TWO_32;
  cpu.exiting = Exiting.INSTRUCTION;
  throw UNWIND;
}

export function setLinearAddress(cpu: Cpu, low: number, high: number): void {
  cpu.v[GUEST_LINEAR_ADDRESS] = low;
  cpu.v[GUEST_LINEAR_ADDRESS + 1] = high;
}
