#include "l2-enlightened.h"
#include "vmx-tables.h"

        .text
        .globl  l2_steps
        .balign L2_STEP_BYTES
l2_steps:
        .rept   L2_STEPS
        .balign L2_STEP_BYTES
0:      mov     %rdi, %cr8
        .org    0b + L2_STEP_STORED, 0x90
        mov     %rsi, %rcx
1:      dec     %rcx
        jg      1b
        mov     %cr8, %rax
        .org    0b + L2_STEP_VMCALL, 0x90
        vmcall
        .endr

        .globl  l2_two_calls
l2_two_calls:
        vmcall
        vmcall

        .globl  l2_load_cr4, l2_load_cr4_vmcall
l2_load_cr4:
        mov     %cr4, %rax
l2_load_cr4_vmcall:
        vmcall

        .globl  l2_load_msr, l2_load_msr_rdmsr, l2_load_msr_vmcall
l2_load_msr:
        mov     $MSR_IA32_KERNEL_GS_BASE, %ecx
l2_load_msr_rdmsr:
        rdmsr
l2_load_msr_vmcall:
        vmcall

/* L2 that goes on behind a hypercall without L1 having said where. */
        vmcall
        jmp     . - 3
