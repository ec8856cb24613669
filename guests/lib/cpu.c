#include "cpu.h"

#define DOUBLE_FAULT 8
#define GATE_INTERRUPT 0x8e
#define DESCRIPTOR_CODE_64 0x00af9b000000fffful
#define DESCRIPTOR_DATA 0x00cf93000000fffful
#define DESCRIPTOR_TSS_64 0x0000890000000067ul

struct tss {
  u32 reserved0;
  u64 rsp[3];
  u64 reserved1;
  u64 ist[7];
  u64 reserved2;
  u16 reserved3;
  u16 io_bitmap;
} __attribute__((packed));

extern const u8 exception_stubs[];

static u64 gdt[6];
static struct idt_gate idt[32];
static struct tss tss;
/* A double fault often means that the stack is gone. */
static u8 double_fault_stack[4096] __attribute__((aligned(16)));

void idt_gate_set(struct idt_gate *gate, void (*handler)(void)) {
  u64 offset = (u64)handler;
  *gate = (struct idt_gate){
      .offset_low = (u16)offset,
      .selector = SELECTOR_CODE,
      .type = GATE_INTERRUPT,
      .offset_middle = (u16)(offset >> 16),
      .offset_high = (u32)(offset >> 32),
  };
}

u64 cpu_tss_base(void) {
  return (u64)&tss;
}

static void gdt_fill(void) {
  u64 base = (u64)&tss;
  gdt[SELECTOR_CODE / 8] = DESCRIPTOR_CODE_64;
  gdt[SELECTOR_DATA / 8] = DESCRIPTOR_DATA;
  gdt[SELECTOR_TSS / 8] = DESCRIPTOR_TSS_64 | (base & 0xffffff) << 16 | (base >> 24 & 0xff) << 56;
  gdt[SELECTOR_TSS / 8 + 1] = base >> 32;
}

static void segments_load(void) {
  struct descriptor_table table = {.limit = sizeof gdt - 1, .base = (u64)gdt};
  __asm__ volatile(
      "lgdt %0\n\t"
      "mov %2, %%ds\n\t"
      "mov %2, %%es\n\t"
      "mov %2, %%ss\n\t"
      "mov %2, %%fs\n\t"
      "mov %2, %%gs\n\t"
      "push %1\n\t"
      "lea 1f(%%rip), %%rax\n\t"
      "push %%rax\n\t"
      "lretq\n"
      "1:"
      :
      : "m"(table), "i"(SELECTOR_CODE), "r"(SELECTOR_DATA)
      : "rax", "memory");
}

void cpu_tables_load(void) {
  gdt_fill();
  segments_load();
  tss.ist[0] = (u64)(double_fault_stack + sizeof double_fault_stack);
  tss.io_bitmap = sizeof tss;
  __asm__ volatile("ltr %w0" : : "r"(SELECTOR_TSS));
  for (u64 vector = 0; vector < COUNT_OF(idt); vector++)
    idt_gate_set(&idt[vector], (void (*)(void))(exception_stubs + 16 * vector));
  idt[DOUBLE_FAULT].stack = 1;
  struct descriptor_table table = {.limit = sizeof idt - 1, .base = (u64)idt};
  load_idt(&table);
}
