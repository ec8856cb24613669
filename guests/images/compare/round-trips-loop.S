/* The measured loop. Nothing is saved: L2 touches no register, so that L1 finds its own after each exit. */

#include "vmx-tables.h"

        .text

/* Eight instructions a round trip: VMREAD, ADD, VMWRITE, DEC, JZ, VMRESUME here, VMCALL and JMP in L2.
   u64 round_trips_plain(u64 count): how many of them were not made. */
        .globl  round_trips_plain
round_trips_plain:
        mov     $plain_exited, %esi
        jmp     enter

plain_exited:
        vmread  %r13, %rax
        add     $3, %rax
        vmwrite %rax, %r13
        dec     %r12
        jz      leave
        vmresume
        jmp     leave

/* The same, and each exit must be a VMCALL. */
        .globl  round_trips_checked
round_trips_checked:
        mov     $checked_exited, %esi
        jmp     enter

checked_exited:
        vmread  %r14, %rax
        cmp     $EXIT_REASON_VMCALL, %eax
        jne     leave
        vmread  %r13, %rax
        add     $3, %rax
        vmwrite %rax, %r13
        dec     %r12
        jz      leave
        vmresume
        jmp     leave

enter:
        push    %r12
        push    %r13
        push    %r14
        mov     %rdi, %r12
        mov     $VMCS_GUEST_RIP, %r13d
        mov     $VMCS_VM_EXIT_REASON, %r14d
        mov     $VMCS_HOST_RSP, %eax
        vmwrite %rsp, %rax
        mov     $VMCS_HOST_RIP, %eax
        vmwrite %rsi, %rax
        vmresume
leave:
        mov     %r12, %rax
        pop     %r14
        pop     %r13
        pop     %r12
        ret

        .globl  l2_round_trips
l2_round_trips:
        vmcall
        jmp     l2_round_trips
