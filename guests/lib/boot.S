/* Entry of every image, and the exception stubs. The machine enters in 64-bit mode, RDI = boot info, RSP = 0. */

        .section .text.boot, "ax"
        .globl _start
_start:
        cli
        cld
        mov     $boot_stack_end, %esp
        xor     %ebp, %ebp
        call    start_image
1:      hlt
        jmp     1b

        .text

/* The CPU pushes an error code for these vectors; the other stubs push a zero in its place. */
#define HAS_ERROR_CODE(n) (n == 8 || (n >= 10 && n <= 14) || n == 17 || n == 21 || n == 29 || n == 30)

/* Each stub is 16 bytes long: cpu.c finds stub n at exception_stubs + 16 * n. */
        .balign 16
        .globl exception_stubs
exception_stubs:
        .set    vector, 0
        .rept   32
        .balign 16
        .if     !HAS_ERROR_CODE(vector)
        push    $0
        .endif
        push    $vector
        jmp     exception_common
        .set    vector, vector + 1
        .endr

/* The order of the pushes is struct exception_frame, backwards. */
exception_common:
        push    %rax
        push    %rbx
        push    %rcx
        push    %rdx
        push    %rsi
        push    %rdi
        push    %rbp
        push    %r8
        push    %r9
        push    %r10
        push    %r11
        push    %r12
        push    %r13
        push    %r14
        push    %r15
        mov     %rsp, %rdi
        and     $-16, %rsp
        cld
        call    exception_unexpected
1:      hlt
        jmp     1b

        .bss
        .balign 16
boot_stack:
        .skip   32768
boot_stack_end:
