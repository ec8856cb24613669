/* L2's assembly: interrupt stubs, and the loop that fills all registers before each hypercall. */

        .text

/* Each stub is 16 bytes long: l2-interrupts.c finds stub n at l2_interrupt_stubs + 16 * n. */
        .balign 16
        .globl  l2_interrupt_stubs
l2_interrupt_stubs:
        .set    vector, 0
        .rept   256
        .balign 16
        push    $vector
        jmp     interrupt_common
        .set    vector, vector + 1
        .endr

interrupt_common:
        push    %rax
        push    %rcx
        push    %rdx
        push    %rsi
        push    %rdi
        push    %r8
        push    %r9
        push    %r10
        push    %r11
        push    %rbp
        mov     %rsp, %rbp
        mov     80(%rsp), %edi
        and     $-16, %rsp
        cld
        call    l2_interrupt
        mov     %rbp, %rsp
        pop     %rbp
        pop     %r11
        pop     %r10
        pop     %r9
        pop     %r8
        pop     %rdi
        pop     %rsi
        pop     %rdx
        pop     %rcx
        pop     %rax
        add     $8, %rsp
        iretq

#define PATTERN(n) (0x0123456789abc000 + n)

/* RBX counts nothing here: a register that did not survive ends in l2_registers_lost. RAX carries PATTERN(0) to L1 and
   PATTERN(16) back. The carry flag is set before each hypercall. */
        .globl  l2_registers_entry, l2_registers_vmcall
l2_registers_entry:
        mov     $PATTERN(0), %rax
        mov     $PATTERN(1), %rcx
        mov     $PATTERN(2), %rdx
        mov     $PATTERN(3), %rbx
        mov     $PATTERN(5), %rbp
        mov     $PATTERN(6), %rsi
        mov     $PATTERN(7), %rdi
        mov     $PATTERN(8), %r8
        mov     $PATTERN(9), %r9
        mov     $PATTERN(10), %r10
        mov     $PATTERN(11), %r11
        mov     $PATTERN(12), %r12
        mov     $PATTERN(13), %r13
        mov     $PATTERN(14), %r14
        mov     $PATTERN(15), %r15
        stc
l2_registers_vmcall:
        vmcall
        jnc     lost
        mov     %rcx, saved_rcx(%rip)
        mov     $PATTERN(16), %rcx
        cmp     %rcx, %rax
        jne     lost
        mov     $PATTERN(1), %rax
        cmp     saved_rcx(%rip), %rax
        jne     lost
        .macro  survives register, number
        mov     $PATTERN(\number), %rax
        cmp     %rax, %\register
        jne     lost
        .endm
        survives rdx, 2
        survives rbx, 3
        survives rbp, 5
        survives rsi, 6
        survives rdi, 7
        survives r8, 8
        survives r9, 9
        survives r10, 10
        survives r11, 11
        survives r12, 12
        survives r13, 13
        survives r14, 14
        survives r15, 15
        jmp     l2_registers_entry
lost:
        incl    l2_registers_lost(%rip)
        jmp     l2_registers_entry

        .bss
        .balign 8
saved_rcx:
        .skip   8
        .globl  l2_registers_lost
l2_registers_lost:
        .skip   4
