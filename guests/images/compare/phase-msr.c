/* (c) The MSR bitmap: what it passes, L2 does without L1; what it intercepts exits with the number in ECX. Some of these
   MSRs a nested processor can pass on in hardware, others it must emulate: L1 sees no difference. */
#include "compare.h"
#include "l1-pages.h"

#define FS_BASE_VALUE 0x00007f1122334450ul
#define GS_BASE_VALUE 0x00007f5566778890ul
#define KERNEL_GS_BASE_VALUE 0xffff8099aabbccd0ul
#define SYSENTER_ESP_VALUE 0xffff80ddeeff0010ul
#define SYSENTER_EIP_VALUE 0xffff801234567890ul
#define REPLY 0x1122334455667788ul
/* In neither range of the bitmap. */
#define MSR_ELSEWHERE 0x40000000

static const struct {
  u32 msr;
  u64 value;
} passed[] = {
    {MSR_IA32_FS_BASE, FS_BASE_VALUE},
    {MSR_IA32_GS_BASE, GS_BASE_VALUE},
    {MSR_IA32_KERNEL_GS_BASE, KERNEL_GS_BASE_VALUE},
    {MSR_IA32_SYSENTER_ESP, SYSENTER_ESP_VALUE},
};

/* ---- L2's half. */
static void l2_msr(void) {
  u64 right = 0;
  for (u32 i = 0; i < COUNT_OF(passed); i++)
    write_msr(passed[i].msr, passed[i].value);
  for (u32 i = 0; i < COUNT_OF(passed); i++)
    right += read_msr(passed[i].msr) == passed[i].value;
  hypercall(right);
  hypercall(read_msr(MSR_IA32_KERNEL_GS_BASE));
  write_msr(MSR_IA32_KERNEL_GS_BASE, FS_BASE_VALUE);
  hypercall(read_msr(MSR_IA32_KERNEL_GS_BASE));
  write_msr(MSR_IA32_SYSENTER_EIP, SYSENTER_EIP_VALUE);
  hypercall(read_msr(MSR_IA32_SYSENTER_EIP));
  hypercall(read_msr(MSR_ELSEWHERE));
}

/* ---- L1's half. */
static u8 *bitmap(void) {
  return world_page(PAGE_MSR_BITMAP);
}

static bool expect_read(u32 msr, const char *what) {
  if (!expect_exit(EXIT_REASON_MSR_READ, 0, what))
    return false;
  check_equal((u32)l2.rcx, msr, "c: ... and ECX is the MSR");
  l2.rax = (u32)REPLY;
  l2.rdx = REPLY >> 32;
  l2_skip();
  if (!expect_hypercall("c: ... and L2 goes on behind it"))
    return false;
  check_equal(l2.rax, REPLY, "c: ... with the value that L1 has given");
  return true;
}

static bool accesses_pass(void) {
  for (u32 i = 0; i < COUNT_OF(passed); i++)
    msr_bitmap_set(bitmap(), passed[i].msr, false, false);
  if (!expect_hypercall("c1: accesses to four MSRs that the bitmap passes do not exit"))
    return false;
  check_equal(l2.rax, COUNT_OF(passed), "c2: L2 reads what it has written");
  check_equal(vmx_read(VMCS_GUEST_FS_BASE), FS_BASE_VALUE, "c3: FS base is in the VMCS");
  check_equal(vmx_read(VMCS_GUEST_GS_BASE), GS_BASE_VALUE, "c4: GS base is in the VMCS");
  check_equal(vmx_read(VMCS_GUEST_SYSENTER_ESP), SYSENTER_ESP_VALUE, "c5: SYSENTER_ESP is in the VMCS");
  check_equal(read_msr(MSR_IA32_KERNEL_GS_BASE), KERNEL_GS_BASE_VALUE, "c6: KERNEL_GS_BASE is the MSR that L1 has, too");
  check_equal(read_msr(MSR_IA32_FS_BASE), 0, "c7: L1 has its own FS base again");
  return true;
}

static bool interception_follows_bitmap(void) {
  msr_bitmap_set(bitmap(), MSR_IA32_KERNEL_GS_BASE, true, false);
  if (!expect_read(MSR_IA32_KERNEL_GS_BASE, "c8: a read that the bitmap now intercepts exits (31)"))
    return false;
  msr_bitmap_set(bitmap(), MSR_IA32_KERNEL_GS_BASE, false, false);
  if (!expect_hypercall("c9: and does not when the bitmap passes it again; writes have always passed"))
    return false;
  check_equal(l2.rax, FS_BASE_VALUE, "c10: the write has been done");
  return true;
}

static void rest_exits(void) {
  if (!expect_exit(EXIT_REASON_MSR_WRITE, 0, "c11: a write that the bitmap intercepts exits (32)"))
    return;
  check_equal((u32)l2.rcx, MSR_IA32_SYSENTER_EIP, "c12: ECX is the MSR");
  check_equal((u32)l2.rdx * (1ul << 32) | (u32)l2.rax, SYSENTER_EIP_VALUE, "c13: EDX:EAX is the value");
  check_equal(l2_exit.length, 2, "c14: the instruction length of WRMSR is 2");
  l2_skip();
  if (!expect_read(MSR_IA32_SYSENTER_EIP, "c15: a read of the same MSR exits (31)"))
    return;
  check_equal(vmx_read(VMCS_GUEST_SYSENTER_EIP), 0, "c16: the intercepted write has changed nothing");
  expect_read(MSR_ELSEWHERE, "c17: an MSR outside the bitmap's ranges exits");
}

void phase_msr(void) {
  l2_begin(PROFILE_FULL, l2_msr);
  if (accesses_pass() && interception_follows_bitmap())
    rest_exits();
  write_msr(MSR_IA32_KERNEL_GS_BASE, 0);
}
