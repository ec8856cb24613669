/* The processor below VMX: registers, MSRs, descriptor tables. */
#pragma once

#include "selectors.h"
#include "types.h"
#include "vmx-tables.h"

#define CR4_VMXE (1ul << 13)
#define RFLAGS_FIXED 2ul
#define RFLAGS_IF (1ul << 9)

struct descriptor_table {
  u16 limit;
  u64 base;
} __attribute__((packed));

struct idt_gate {
  u16 offset_low;
  u16 selector;
  u8 stack;
  u8 type;
  u16 offset_middle;
  u32 offset_high;
  u32 reserved;
};

struct cpuid {
  u32 eax, ebx, ecx, edx;
};

/** What an exception stub has pushed, lowest address first. */
struct exception_frame {
  u64 r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
  u64 vector, error_code, rip, cs, rflags, rsp, ss;
};

/** Loads the image's own GDT, TSS and IDT. */
void cpu_tables_load(void);

/** Points a gate at an interrupt handler that runs with interrupts off, on the current stack. */
void idt_gate_set(struct idt_gate *gate, void (*handler)(void));

/** Base of the TSS, which no instruction reads back. */
u64 cpu_tss_base(void);

static inline u64 read_msr(u32 msr) {
  u32 low, high;
  __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
  return (u64)high << 32 | low;
}

static inline void write_msr(u32 msr, u64 value) {
  __asm__ volatile("wrmsr" : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

static inline struct cpuid read_cpuid(u32 leaf, u32 subleaf) {
  struct cpuid out;
  __asm__ volatile("cpuid" : "=a"(out.eax), "=b"(out.ebx), "=c"(out.ecx), "=d"(out.edx) : "a"(leaf), "c"(subleaf));
  return out;
}

#define DEFINE_CONTROL_REGISTER(name)                                         \
  static inline u64 read_##name(void) {                                       \
    u64 value;                                                                \
    __asm__ volatile("mov %%" #name ", %0" : "=r"(value));                    \
    return value;                                                             \
  }                                                                           \
  static inline void write_##name(u64 value) {                                \
    __asm__ volatile("mov %0, %%" #name : : "r"(value) : "memory");           \
  }

DEFINE_CONTROL_REGISTER(cr0)
DEFINE_CONTROL_REGISTER(cr2)
DEFINE_CONTROL_REGISTER(cr3)
DEFINE_CONTROL_REGISTER(cr4)
DEFINE_CONTROL_REGISTER(cr8)

static inline struct descriptor_table read_gdtr(void) {
  struct descriptor_table table;
  __asm__ volatile("sgdt %0" : "=m"(table));
  return table;
}

static inline struct descriptor_table read_idtr(void) {
  struct descriptor_table table;
  __asm__ volatile("sidt %0" : "=m"(table));
  return table;
}

static inline void load_idt(const struct descriptor_table *table) {
  __asm__ volatile("lidt %0" : : "m"(*table));
}
