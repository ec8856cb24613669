/* (e) Interrupts. One that L1 did not post makes L2 exit; a posted one reaches L2 without an exit, when L2's flags and
   priority let it, and L2's end-of-interrupt does not exit either. */
#include "compare.h"
#include "l1-pages.h"
#include "memory.h"
#include "x2apic.h"

#define PLAIN_VECTOR 0xe1
#define INTERRUPTION_VALID 0x80000000u
#define FIRST 0x51
#define MASKED 0x61
#define LOWER 0x71
#define HIGHER 0x91
#define EXITING 0xa1
#define PATIENCE 20000

/* ---- L2's half. Each hypercall asks L1 for the next step; what L2 has seen is in `interrupts`. */
static void wait_for(u32 count) {
  for (u32 i = 0; i < PATIENCE && interrupts.count < count; i++)
    ;
}

static void l2_interruptible(void) {
  delay(PATIENCE);
  hypercall(0);
}

static void l2_posted(void) {
  interrupts_on();
  hypercall(0);
  wait_for(1);
  interrupts_off();
  hypercall(interrupts.count);
  delay(100);
  u64 before = interrupts.count;
  interrupts_on();
  wait_for(2);
  hypercall(before * 256 + interrupts.count);
  apic_write(APIC_TASKPRI, 0xf0);
  hypercall(0);
  delay(100);
  before = interrupts.count;
  apic_write(APIC_TASKPRI, 0);
  wait_for(3);
  hypercall(before * 256 + interrupts.count);
  wait_for(5);
  hypercall(interrupts.count);
  wait_for(6);
  hypercall(interrupts.count);
}

/* ---- L1's half. */
static u32 virtual_bits(u32 offset) {
  u32 bits = 0;
  for (u32 word = 0; word < 8; word++)
    bits |= *virtual_apic(offset + 0x10 * word);
  return bits;
}

static void plain_interrupt_exits(void) {
  l2_begin(PROFILE_FULL, l2_interruptible);
  x2apic_self_ipi(PLAIN_VECTOR);
  if (expect_exit(EXIT_REASON_EXTERNAL_INTERRUPT, 0, "e1: an interrupt of L1 makes L2 exit (1)")) {
    check_equal(l2_exit.interruption, INTERRUPTION_VALID | PLAIN_VECTOR, "e2: acknowledged, with its vector");
    check_equal(l2_exit.rip, (u64)l2_interruptible, "e3: before the first instruction of L2");
    x2apic_end_of_interrupt();
    expect_hypercall("e4: once; then L2 runs on");
  }
}

static bool one_vector_arrives(void) {
  if (!expect_hypercall("e5: L2 is ready"))
    return false;
  world_post(FIRST);
  if (!expect_hypercall("e6: L2 gets a posted interrupt without an exit"))
    return false;
  check_equal(l2.rax, 1, "e7: once");
  check_equal(interrupts.vectors[0], FIRST, "e8: with its vector");
  check_equal(interrupts.in_service, 1, "e9: which is in service while the handler runs");
  check_equal(pi_descriptor_posted(world_pi_descriptor()), 0, "e10: no vector is posted any more");
  check(!pi_descriptor_outstanding(world_pi_descriptor()), "e11: and ON is clear");
  check_equal(virtual_bits(APIC_IRR0), 0, "e12: no virtual interrupt is requested any more");
  check_equal(virtual_bits(APIC_ISR0), 0, "e13: none is in service: the EOI has been virtualized");
  check_equal(vmx_read(VMCS_GUEST_INTR_STATUS), 0, "e14: and the guest interrupt status is 0");
  return true;
}

static bool flags_and_priority_hold_back(void) {
  world_post(FIRST);
  if (!expect_hypercall("e15: with interrupts off L2 gets a posted interrupt without an exit"))
    return false;
  check_equal(l2.rax, 1 * 256 + 2, "e16: not before it switches interrupts on");
  if (!expect_hypercall("e17: L2 raises its TPR"))
    return false;
  world_post(MASKED);
  if (!expect_hypercall("e18: below the TPR L2 gets a posted interrupt without an exit"))
    return false;
  check_equal(l2.rax, 2 * 256 + 3, "e19: not before it lowers the TPR");
  check_equal(interrupts.vectors[2], MASKED, "e20: with its vector");
  return true;
}

static bool two_vectors_arrive(void) {
  pi_descriptor_post(world_pi_descriptor(), LOWER);
  world_post(HIGHER);
  if (!expect_hypercall("e21: two vectors, posted by one notification, arrive without an exit"))
    return false;
  check_equal(l2.rax, 5, "e22: both");
  check_equal(interrupts.vectors[3], HIGHER, "e23: the higher one first");
  check_equal(interrupts.vectors[4], LOWER, "e24: then the lower one");
  return true;
}

static void end_of_interrupt_exits(void) {
  vmx_write(VMCS_EOI_EXIT_BITMAP0 + 2 * (EXITING / 64), 1ul << EXITING % 64);
  world_post(EXITING);
  if (!expect_exit(EXIT_REASON_EOI_INDUCED, EXITING, "e25: an EOI that the EOI-exit bitmap names exits (45, its vector)"))
    return;
  check_equal(l2_exit.rip, l2.r11, "e26: behind the store");
  if (expect_hypercall("e27: then L2 runs on"))
    check_equal(l2.rax, 6, "e28: with the interrupt handled");
}

void phase_posted(void) {
  if (!has_posted_interrupts)
    return skip("e1 to e28", "posted interrupts, virtual-interrupt delivery or x2APIC mode is not offered");
  memset((void *)&interrupts, 0, sizeof interrupts);
  interrupts.read_in_service = true;
  plain_interrupt_exits();
  l2_begin(PROFILE_FULL, l2_posted);
  if (one_vector_arrives() && flags_and_priority_hold_back() && two_vectors_arrive())
    end_of_interrupt_exits();
}
