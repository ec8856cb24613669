/* u32 vmx_run(struct l2_registers *registers, bool launched): one entry to L2 and the exit that ends it.
   u32 vmx_run_enlightened(the same): without a VMWRITE. */

#include "vmx-tables.h"

#define RAX 0
#define RCX 8
#define RDX 16
#define RBX 24
#define RBP 32
#define RSI 40
#define RDI 48
#define R8 56
#define R9 64
#define R10 72
#define R11 80
#define R12 88
#define R13 96
#define R14 104
#define R15 112

        .macro  save_registers
        push    %rbx
        push    %rbp
        push    %r12
        push    %r13
        push    %r14
        push    %r15
        push    %rdi
        .endm

        .text
        .globl vmx_run_enlightened
vmx_run_enlightened:
        save_registers
        mov     %rsp, return_rsp(%rip)
        jmp     enter

        .globl vmx_run
vmx_run:
        save_registers
        mov     $VMCS_HOST_RSP, %eax
        vmwrite %rsp, %rax
        jbe     refused
        mov     $VMCS_HOST_RIP, %eax
        mov     $exited, %ecx
        vmwrite %rcx, %rax
        jbe     refused

enter:
        /* The moves below keep the flags of this test. */
        test    %esi, %esi
        mov     RAX(%rdi), %rax
        mov     RCX(%rdi), %rcx
        mov     RDX(%rdi), %rdx
        mov     RBX(%rdi), %rbx
        mov     RBP(%rdi), %rbp
        mov     RSI(%rdi), %rsi
        mov     R8(%rdi), %r8
        mov     R9(%rdi), %r9
        mov     R10(%rdi), %r10
        mov     R11(%rdi), %r11
        mov     R12(%rdi), %r12
        mov     R13(%rdi), %r13
        mov     R14(%rdi), %r14
        mov     R15(%rdi), %r15
        mov     RDI(%rdi), %rdi
        jnz     1f
        vmlaunch
        jmp     refused
1:      vmresume

/* Still here: CF is VMfailInvalid, ZF is VMfailValid. */
refused:
        mov     $1, %eax
        jc      leave
        mov     $2, %eax
        jmp     leave

        .globl vmx_exited_enlightened
vmx_exited_enlightened:
        mov     return_rsp(%rip), %rsp

/* RSP is as it was at the entry, everything else is L2's. */
exited:
        push    %rdi
        mov     8(%rsp), %rdi
        mov     %rax, RAX(%rdi)
        mov     %rcx, RCX(%rdi)
        mov     %rdx, RDX(%rdi)
        mov     %rbx, RBX(%rdi)
        mov     %rbp, RBP(%rdi)
        mov     %rsi, RSI(%rdi)
        mov     %r8, R8(%rdi)
        mov     %r9, R9(%rdi)
        mov     %r10, R10(%rdi)
        mov     %r11, R11(%rdi)
        mov     %r12, R12(%rdi)
        mov     %r13, R13(%rdi)
        mov     %r14, R14(%rdi)
        mov     %r15, R15(%rdi)
        pop     %rax
        mov     %rax, RDI(%rdi)
        xor     %eax, %eax

leave:
        pop     %rdi
        pop     %r15
        pop     %r14
        pop     %r13
        pop     %r12
        pop     %rbp
        pop     %rbx
        ret

        .bss
        .balign 8
return_rsp:
        .skip   8
