#include "compare.h"

extern const u8 l2_interrupt_stubs[];

volatile struct interrupt_log interrupts;
struct idt_gate l2_idt[256];

void l2_idt_fill(void) {
  for (u64 vector = 0; vector < COUNT_OF(l2_idt); vector++)
    idt_gate_set(&l2_idt[vector], (void (*)(void))(l2_interrupt_stubs + 16 * vector));
}

/** Called by the interrupt stubs, with interrupts off. */
void l2_interrupt(u32 vector) {
  vector &= 255;
  if (interrupts.count < INTERRUPT_LOG)
    interrupts.vectors[interrupts.count] = vector;
  if (interrupts.read_in_service && apic_read(APIC_ISR0 + 0x10 * (vector / 32)) >> (vector % 32) & 1)
    interrupts.in_service++;
  interrupts.per_vector[vector]++;
  interrupts.count++;
  apic_write(APIC_EOI, 0);
}
