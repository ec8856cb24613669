/* L2 of an enlightened VMCS: short pieces, each of which ends with a hypercall. None uses the stack, so that L1 may start any
   of them at any time, and each ends soon wherever L2 is started in it. For C and assembly. */
#pragma once

/* Step n of L2_STEPS is at l2_steps + n * L2_STEP_BYTES: RDI to CR8, a loop of RSI turns, CR8 to RAX. */
#define L2_STEPS 4
#define L2_STEP_BYTES 32
/* In a step: the instruction behind the store, and the hypercall. */
#define L2_STEP_STORED 4
#define L2_STEP_VMCALL 16

#ifndef __ASSEMBLER__
#include "types.h"

void l2_steps(void);
/** Two hypercalls, one behind the other. */
void l2_two_calls(void);
/** CR4 to RAX. */
void l2_load_cr4(void);
/** Reads IA32_KERNEL_GS_BASE. */
void l2_load_msr(void);
extern const u8 l2_load_cr4_vmcall[], l2_load_msr_rdmsr[], l2_load_msr_vmcall[];
#endif
