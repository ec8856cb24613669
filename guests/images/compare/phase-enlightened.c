/* (f) The enlightened VMCS: L1 reads and writes its fields in a page, and clean bits say what L0 need not read again. An
   L2 of the ordinary VMCS stands still meanwhile, and must go on as if nothing had been. */
#include "compare.h"
#include "enlightened-vmcs.h"
#include "hyperv.h"
#include "l1-pages.h"
#include "l2-enlightened.h"
#include "memory.h"

#define WRONG_REVISION 2
#define VMFAIL_INVALID 1
#define VMCALL_LENGTH 3
#define FIRST_CALL 0x11
#define SECOND_CALL 0x22
/* In the field of the exit reason before an entry; no exit has this reason. */
#define NO_EXIT 0x7fffu
#define RSP_MOVED 0x100ul
#define CR4_TSD 4ul
#define PRIORITY_HIGH 5
#define PRIORITY_LOW 3
#define THRESHOLD 4

/* ---- The L2 that waits. */
static void l2_ordinary(void) {
  hypercall(FIRST_CALL);
  hypercall(SECOND_CALL);
}

/* ---- L1's half. */
static u8 *evmcs(void) {
  return world_page(PAGE_ENLIGHTENED);
}

static void unclean(u32 groups) {
  *evmcs_u32(evmcs(), EVMCS_HV_CLEAN_FIELDS) &= ~groups;
}

/* Runs L2 from `start` on: GUEST_RIP belongs to no group, L0 must always read it. */
static bool expect_from(u64 start, u32 reason, const char *what) {
  vmx_write(VMCS_GUEST_RIP, start);
  vmx_write(VMCS_VM_EXIT_REASON, NO_EXIT);
  return expect_exit(reason, 0, what);
}

static bool expect_call(void (*start)(void), const char *what) {
  return expect_from((u64)start, EXIT_REASON_VMCALL, what);
}

static void open_interface(void) {
  u8 *assist = world_page(PAGE_VP_ASSIST);
  *(u32 *)(assist + VP_ASSIST_APIC_ASSIST) = ~0u;
  hyperv_open(assist);
  check(read_msr(MSR_HV_X64_MSR_GUEST_OS_ID) != 0, "f1: L1 has an identity");
  check_equal(read_msr(MSR_HV_X64_MSR_VP_ASSIST_PAGE), (u64)assist | 1, "f2: and a VP assist page");
  check_equal(*(volatile u32 *)(assist + VP_ASSIST_APIC_ASSIST), 0, "f3: whose first word has been cleared");
}

static bool is_launched(void) {
  *evmcs_u32(evmcs(), EVMCS_REVISION_ID) = WRONG_REVISION;
  enlightened_enter(PAGE_ENLIGHTENED, PAGE_ENLIGHTENED);
  check_equal(l2_enter(), VMFAIL_INVALID, "f5: VMLAUNCH with a wrong revision in the page is VMfailInvalid");
  *evmcs_u32(evmcs(), EVMCS_REVISION_ID) = EVMCS_VERSION;
  if (!expect_call(l2_two_calls, "f6: with version 1 L2 runs to a VMCALL (18), as the page says"))
    return false;
  check_equal(l2_exit.rip, (u64)l2_two_calls, "f7: GUEST_RIP in the page is the VMCALL");
  check_equal(l2_exit.length, VMCALL_LENGTH, "f8: the instruction length of VMCALL is 3");
  check_equal(*evmcs_u32(evmcs(), EVMCS_HV_CLEAN_FIELDS) & EVMCS_CLEAN_ALL, EVMCS_CLEAN_ALL,
              "f9: the entry has set all clean bits");
  u64 next = l2_exit.rip + l2_exit.length;
  if (!expect_from(next, EXIT_REASON_VMCALL, "f10: VMRESUME takes GUEST_RIP from the page all the same"))
    return false;
  check_equal(l2_exit.rip, next, "f11: and L2 runs to the second VMCALL");
  return true;
}

static bool clean_bits_count(void) {
  u64 *rsp = evmcs_u64(evmcs(), EVMCS_GUEST_RSP);
  u64 before = *rsp;
  *rsp = before - RSP_MOVED;
  if (!expect_call(l2_two_calls, "f12: an L2 whose RSP L1 has changed under a set clean bit runs"))
    return false;
  check_equal(*rsp, before, "f13: with the RSP that it had");
  *rsp = before - RSP_MOVED;
  unclean(EVMCS_CLEAN_GUEST_BASIC);
  if (!expect_call(l2_two_calls, "f14: and again with that clean bit cleared"))
    return false;
  check_equal(*rsp, before - RSP_MOVED, "f15: with the new RSP");
  return true;
}

static bool clean_bits_count_for_controls(void) {
  *evmcs_u64(evmcs(), EVMCS_CR4_GUEST_HOST_MASK) = CR4_TSD;
  *evmcs_u64(evmcs(), EVMCS_CR4_READ_SHADOW) = CR4_TSD;
  if (!expect_call(l2_load_cr4, "f16: an L2 whose CR4 shadow L1 has changed under a set clean bit runs"))
    return false;
  check_equal(l2.rax & CR4_TSD, 0, "f17: and loads CR4 as it was");
  check_equal(l2_exit.rip, (u64)l2_load_cr4_vmcall, "f18: up to its VMCALL");
  unclean(EVMCS_CLEAN_CRDR);
  if (!expect_call(l2_load_cr4, "f19: and again with that clean bit cleared"))
    return false;
  check_equal(l2.rax & CR4_TSD, CR4_TSD, "f20: L2 loads the shadow");
  return true;
}

static bool priority_is_shadowed(void) {
  l2.rdi = PRIORITY_HIGH;
  if (!expect_call(l2_steps, "f21: MOV to and from CR8 do not exit"))
    return false;
  check_equal(*virtual_apic(APIC_TASKPRI), PRIORITY_HIGH << 4, "f22: VTPR in the virtual-APIC page is what L2 has stored");
  check_equal(l2.rax, PRIORITY_HIGH, "f23: and what it loads");
  *evmcs_u32(evmcs(), EVMCS_TPR_THRESHOLD) = THRESHOLD;
  l2.rdi = PRIORITY_LOW;
  if (!expect_from((u64)l2_steps, EXIT_REASON_TPR_BELOW_THRESHOLD,
                   "f24: a TPR below the threshold that L1 has written under set clean bits exits (43)"))
    return false;
  check_equal(l2_exit.rip, (u64)l2_steps + L2_STEP_STORED, "f25: behind the store");
  check_equal(*virtual_apic(APIC_TASKPRI), PRIORITY_LOW << 4, "f26: which has been done");
  *evmcs_u32(evmcs(), EVMCS_TPR_THRESHOLD) = 0;
  if (!expect_from(l2_exit.rip, EXIT_REASON_VMCALL, "f27: without threshold L2 goes on"))
    return false;
  check_equal(l2.rax, PRIORITY_LOW, "f28: and loads what it has stored");
  return true;
}

/* The clean bit of the bitmap covers its content only if L1 says so; else each change counts, as with any other VMCS. */
static bool bitmap_is_followed(void) {
  u8 *bitmap = world_page(PAGE_MSR_BITMAP);
  if (!expect_from((u64)l2_load_msr, EXIT_REASON_MSR_READ, "f29: a read that the MSR bitmap intercepts exits (31)"))
    return false;
  check_equal(l2_exit.rip, (u64)l2_load_msr_rdmsr, "f30: with GUEST_RIP at the RDMSR");
  msr_bitmap_set(bitmap, MSR_IA32_KERNEL_GS_BASE, false, false);
  unclean(EVMCS_CLEAN_MSR_BITMAP);
  if (!expect_call(l2_load_msr, "f31: and does not when the bitmap passes it"))
    return false;
  check_equal(l2_exit.rip, (u64)l2_load_msr_vmcall, "f32: L2 runs to its VMCALL");
  msr_bitmap_set(bitmap, MSR_IA32_KERNEL_GS_BASE, true, false);
  return expect_from((u64)l2_load_msr, EXIT_REASON_MSR_READ, "f33: a change of the bitmap counts though its clean bit is set");
}

static bool enlightened_bitmap_is_followed(void) {
  u8 *bitmap = world_page(PAGE_MSR_BITMAP);
  if (!hyperv_has_enlightened_msr_bitmap()) {
    skip("f34 to f36", "the MSR bitmap is not enlightened");
    return true;
  }
  *evmcs_u32(evmcs(), EVMCS_HV_ENLIGHTENMENTS_CONTROL) = EVMCS_ENLIGHTENED_MSR_BITMAP;
  msr_bitmap_set(bitmap, MSR_IA32_KERNEL_GS_BASE, false, false);
  unclean(EVMCS_CLEAN_ENLIGHTENMENTSCONTROL | EVMCS_CLEAN_MSR_BITMAP);
  if (!expect_call(l2_load_msr, "f34: the read passes with the bitmap enlightened"))
    return false;
  if (!expect_call(l2_load_msr, "f35: and with its clean bit set"))
    return false;
  msr_bitmap_set(bitmap, MSR_IA32_KERNEL_GS_BASE, true, false);
  unclean(EVMCS_CLEAN_MSR_BITMAP);
  return expect_from((u64)l2_load_msr, EXIT_REASON_MSR_READ, "f36: with the clean bit cleared the changed bitmap counts");
}

/* The revision is looked at when L1 names another page than before, and clean bits count for no page but the last one. */
static bool other_page_is_taken(void) {
  u8 *other = world_page(PAGE_ENLIGHTENED_OTHER);
  *evmcs_u32(evmcs(), EVMCS_REVISION_ID) = WRONG_REVISION;
  if (!expect_call(l2_two_calls, "f37: the revision of the page in use is not looked at again"))
    return false;
  memcpy(other, evmcs(), PAGE_SIZE);
  *evmcs_u32(other, EVMCS_REVISION_ID) = (u32)read_msr(MSR_IA32_VMX_BASIC) & 0x7fffffff;
  *evmcs_u64(other, EVMCS_GUEST_RSP) += RSP_MOVED;
  u64 rsp = *evmcs_u64(other, EVMCS_GUEST_RSP);
  *evmcs_u32(evmcs(), EVMCS_VM_EXIT_REASON) = NO_EXIT;
  enlightened_switch(PAGE_ENLIGHTENED_OTHER);
  bool runs = expect_call(l2_two_calls, "f38: another page, with the revision of an ordinary VMCS, is taken by VMRESUME");
  if (runs) {
    check_equal(*evmcs_u64(other, EVMCS_GUEST_RSP), rsp, "f39: all of it, though its clean bits are set");
    check_equal(*evmcs_u32(evmcs(), EVMCS_VM_EXIT_REASON), NO_EXIT, "f40: and the page before is left alone");
  }
  return runs;
}

static void ordinary_goes_on(const struct l2_registers *registers) {
  u8 before[EVMCS_BYTES];
  u8 *other = world_page(PAGE_ENLIGHTENED_OTHER);
  *evmcs_u32(other, EVMCS_VM_EXIT_REASON) = NO_EXIT;
  memcpy(before, other, EVMCS_BYTES);
  enlightened_leave();
  l2 = *registers;
  if (!expect_hypercall("f41: back on the ordinary VMCS, VMRESUME lets its L2 go on"))
    return;
  check_equal(l2.rax, SECOND_CALL, "f42: behind its hypercall");
  u32 changed = 0;
  for (u32 i = 0; i < EVMCS_BYTES; i++)
    changed += other[i] != before[i];
  check_equal(changed, 0, "f43: neither VMCLEAR nor this exit has changed the enlightened VMCS");
}

void phase_enlightened(void) {
  if (enlightened_missing)
    return skip("f1 to f43", enlightened_missing);
  open_interface();
  l2_begin(PROFILE_TPR_SHADOW, l2_ordinary);
  /* Passed for the ordinary L2, intercepted when the other one starts. */
  msr_bitmap_set(world_page(PAGE_MSR_BITMAP), MSR_IA32_KERNEL_GS_BASE, false, false);
  if (!expect_hypercall("f4: an L2 of the ordinary VMCS runs to its first hypercall"))
    return;
  msr_bitmap_set(world_page(PAGE_MSR_BITMAP), MSR_IA32_KERNEL_GS_BASE, true, true);
  struct l2_registers registers = l2;
  enlightened_fill(PAGE_ENLIGHTENED, l2_steps);
  bool complete = is_launched() && clean_bits_count() && clean_bits_count_for_controls() && priority_is_shadowed() &&
                  bitmap_is_followed() && enlightened_bitmap_is_followed() && other_page_is_taken();
  if (complete)
    ordinary_goes_on(&registers);
  else
    enlightened_leave();
}
