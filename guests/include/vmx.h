/* VMX root operation: what the processor offers, a VMCS, entering L2 and coming back. */
#pragma once

#include "types.h"
#include "vmx-tables.h"

#define MSR_IA32_VMX_BASIC 0x480
#define MSR_IA32_VMX_CR0_FIXED0 0x486
#define MSR_IA32_VMX_CR4_FIXED0 0x488
#define MSR_IA32_VMX_EPT_VPID_CAP 0x48c

#define EPT_CAP_2M_PAGES (1ul << 16)
#define EPT_CAP_INVEPT (1ul << 20)
#define EPT_CAP_ADVANCED_EXIT_INFO (1ul << 22)
#define EPT_CAP_INVEPT_SINGLE (1ul << 25)
#define VPID_CAP_INVVPID (1ul << 32)
#define VPID_CAP_INVVPID_SINGLE (1ul << 41)

/** The five control fields of a VMCS. */
struct vmx_controls {
  u32 pin, proc, proc2, exit, entry;
};

/** L2's general registers, which a VM exit leaves to L1. vmx-run.S knows the order. RSP is in the VMCS. */
struct l2_registers {
  u64 rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15;
};

/** What L2 starts with, besides the state it inherits from L1. */
struct l2_start {
  u64 cr3;
  void (*entry)(void);
  u8 *stack_end;
  const struct idt_gate *idt;
  u32 idt_gates;
};

/** Checks that VMX may be used, switches it on and executes VMXON; refuses with a sentence when it cannot. */
void vmx_enable(void);

/** The controls to use: everything required, what is offered of the wanted, and what must be 1. Refuses when a required
    control is missing. */
struct vmx_controls vmx_negotiate(const struct vmx_controls *required, const struct vmx_controls *wanted);

/** Makes a region the current VMCS, cleared. */
void vmx_load(void *region);

/** VMCLEAR: the region, ordinary or enlightened, is no longer in use. */
void vmx_clear(void *region);

/** VMPTRLD: makes a region current that vmx_load() has prepared; it keeps its fields and its launch state. */
void vmx_switch(void *region);

/** From now on vmx_read() and vmx_write() go to an enlightened VMCS. A null pointer: to the current VMCS. */
void vmx_use_enlightened(u8 *page);

void vmx_write_controls(const struct vmx_controls *controls);
/** What a VM exit returns to: the current state of L1. RSP and RIP are written by vmx_run(). */
void vmx_write_host_state(const struct vmx_controls *controls);
/** A 64-bit L2 with flat segments, interrupts off. */
void vmx_write_l2_state(const struct vmx_controls *controls, const struct l2_start *start);

/** Field access; a VMfail ends the image with the VM-instruction error. */
u64 vmx_read(u32 field);
void vmx_write(u32 field, u64 value);

/** Why a VMX instruction has just failed, on the serial port; then the end. */
NO_RETURN void vmx_failed(const char *instruction, u64 operand);

const char *exit_reason_name(u32 reason);

/** Forgets what was cached from the tables of one EPT pointer. Nothing to do where INVEPT is not offered. */
void vmx_invept(u64 ept_pointer);

/** Forgets what was cached under one VPID. Nothing to do where INVVPID is not offered. */
void vmx_invvpid(u16 vpid);

/** Enters L2 by VMLAUNCH or VMRESUME and comes back at the next exit. 0, or 1 for VMfailInvalid, 2 for VMfailValid. */
u32 vmx_run(struct l2_registers *registers, bool launched);

/** The same from the enlightened VMCS that the VP assist page names. Its HOST_RIP is vmx_exited_enlightened(), its HOST_RSP
    anything: neither differs from one entry to the next, so that also an enlightened VMCS of long ago leads back here. */
u32 vmx_run_enlightened(struct l2_registers *registers, bool launched);
void vmx_exited_enlightened(void);
