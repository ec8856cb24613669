/* (b) The APIC-access page and the virtual-APIC page, under three settings: every access exits; the TPR is shadowed; APIC
   registers and interrupts are virtualized too. What the APIC-access page holds must never be read or changed. */
#include "compare.h"
#include "memory.h"

#define ACCESS_WRITE 0x1000ul
#define UNTOUCHED 0x45
#define VERSION 0x00050014u
#define SPURIOUS 0x1f3u

static const u8 priorities[] = {0x10, 0x20, 0x40, 0x80, 0xf0, 0x01, 0x23, 0x00};

/* ---- L2's half: hypercalls carry what it has read. */
static void l2_every_access_exits(void) {
  apic_write(APIC_TASKPRI, 0x30);
  hypercall(apic_read(APIC_TASKPRI));
  hypercall(apic_read(APIC_TMCCT));
}

static void l2_priority_is_shadowed(void) {
  for (u32 i = 0; i < COUNT_OF(priorities); i++) {
    apic_write(APIC_TASKPRI, priorities[i]);
    hypercall(apic_read(APIC_TASKPRI));
  }
  write_cr8(5);
  hypercall(apic_read(APIC_TASKPRI));
  apic_write(APIC_TASKPRI, 0x70);
  hypercall(read_cr8());
  apic_write(APIC_TASKPRI, 0x3f);
  apic_write(APIC_SPIV, SPURIOUS);
  hypercall(apic_read(APIC_LVR));
}

static void l2_registers_are_virtualized(void) {
  apic_write(APIC_TASKPRI, 0x57);
  hypercall(apic_read(APIC_TASKPRI));
  hypercall(apic_read(APIC_LVR));
  apic_write(APIC_SPIV, SPURIOUS);
  apic_write(APIC_TMCCT, 1);
  hypercall(apic_read(APIC_TMCCT));
}

/* ---- L1's half. */
static void access_page_fill(void) {
  memset(world_page(PAGE_APIC_ACCESS), UNTOUCHED, PAGE_SIZE);
}

static void check_access_page(const char *what) {
  const u8 *page = world_page(PAGE_APIC_ACCESS);
  u32 changed = 0;
  for (u32 i = 0; i < PAGE_SIZE; i++)
    changed += page[i] != UNTOUCHED;
  check_equal(changed, 0, what);
}

/* An access that exits: L1 completes it, a read with a value of its own. */
static bool expect_access(u64 qualification, u32 value, const char *what) {
  if (!expect_exit(EXIT_REASON_APIC_ACCESS, qualification, what))
    return false;
  l2.rax = value;
  l2_skip_access();
  return true;
}

/* An exit behind the access that caused it. */
static bool expect_after_access(u32 reason, u64 qualification, const char *what) {
  if (!expect_exit(reason, qualification, what))
    return false;
  check_equal(l2_exit.rip, l2.r11, "b: ... and RIP is behind the store");
  return true;
}

static void every_access_exits(void) {
  l2_begin(PROFILE_APIC_ACCESS, l2_every_access_exits);
  if (!expect_access(ACCESS_WRITE | APIC_TASKPRI, 0, "b1: without TPR shadow a TPR store exits (44, write, offset 0x80)"))
    return;
  check_equal(l2.rdi, L2_APIC + APIC_TASKPRI, "b2: at the address that L2 has used");
  if (!expect_access(APIC_TASKPRI, 0x77, "b3: and a TPR load (44, read, offset 0x80)"))
    return;
  if (!expect_hypercall("b4: L2 goes on behind the load"))
    return;
  check_equal(l2.rax, 0x77, "b5: with the value that L1 has given");
  if (!expect_access(APIC_TMCCT, 0, "b6: a load of another register exits (44, read, offset 0x390)"))
    return;
  check_equal(*virtual_apic(APIC_TASKPRI), 0, "b7: the virtual-APIC page is not used");
}

static bool stores_are_shadowed(void) {
  u32 read_back = 0, in_page = 0, calls = 0;
  for (u32 i = 0; i < COUNT_OF(priorities); i++) {
    l2_run();
    if (l2_exit.reason != EXIT_REASON_VMCALL)
      break;
    calls++;
    read_back += l2.rax == priorities[i];
    in_page += *virtual_apic(APIC_TASKPRI) == priorities[i];
    l2_skip();
  }
  check_equal(calls, COUNT_OF(priorities), "b8: with the TPR shadow eight TPR stores and loads do not exit");
  if (calls != COUNT_OF(priorities))
    print_exit();
  check_equal(read_back, COUNT_OF(priorities), "b9: L2 loads what it has stored");
  check_equal(in_page, COUNT_OF(priorities), "b10: and VTPR in the virtual-APIC page is that value");
  return calls == COUNT_OF(priorities);
}

static void priority_is_shadowed(void) {
  l2_begin(PROFILE_TPR_SHADOW, l2_priority_is_shadowed);
  if (!stores_are_shadowed())
    return;
  if (!expect_hypercall("b11: MOV to CR8 does not exit"))
    return;
  check_equal(l2.rax, 0x50, "b12: and stores VTPR");
  if (!expect_hypercall("b13: MOV from CR8 does not exit"))
    return;
  check_equal(l2.rax, 7, "b14: and loads VTPR");
  vmx_write(VMCS_TPR_THRESHOLD, 4);
  if (!expect_after_access(EXIT_REASON_TPR_BELOW_THRESHOLD, 0, "b15: a TPR below the threshold exits (43)"))
    return;
  check_equal(*virtual_apic(APIC_TASKPRI), 0x3f, "b16: after the store has been done");
  vmx_write(VMCS_TPR_THRESHOLD, 0);
  if (!expect_access(ACCESS_WRITE | APIC_SPIV, 0, "b17: a store to another register exits (44, write, offset 0xf0)"))
    return;
  expect_access(APIC_LVR, 0, "b18: and a load (44, read, offset 0x30)");
}

static void registers_are_virtualized(void) {
  if (!has_register_virtualization)
    return skip("b19 to b28", "APIC-register virtualization is not offered");
  l2_begin(PROFILE_FULL, l2_registers_are_virtualized);
  *virtual_apic(APIC_LVR) = VERSION;
  if (!expect_hypercall("b19: with all virtualization a TPR store and load do not exit"))
    return;
  check_equal(l2.rax, 0x57, "b20: L2 loads what it has stored");
  check_equal(*virtual_apic(APIC_TASKPRI), 0x57, "b21: and VTPR in the virtual-APIC page is that value");
  if (has_virtual_interrupts)
    check_equal(*virtual_apic(APIC_PROCPRI), 0x57, "b22: and so is VPPR");
  else
    skip("b22", "virtual-interrupt delivery is not offered");
  if (!expect_hypercall("b23: a load of the version register does not exit"))
    return;
  check_equal(l2.rax, VERSION, "b24: and reads the virtual-APIC page");
  if (!expect_after_access(EXIT_REASON_APIC_WRITE, APIC_SPIV, "b25: a store to the spurious register exits after it (56)"))
    return;
  check_equal(*virtual_apic(APIC_SPIV), SPURIOUS, "b26: when the virtual-APIC page has the value");
  if (!expect_access(ACCESS_WRITE | APIC_TMCCT, 0, "b27: a store to the timer count exits (44, write, offset 0x390)"))
    return;
  expect_access(APIC_TMCCT, 0, "b28: and a load (44, read, offset 0x390)");
}

void phase_apic(void) {
  access_page_fill();
  every_access_exits();
  priority_is_shadowed();
  registers_are_virtualized();
  check_access_page("b29: nothing has written to the APIC-access page");
}
