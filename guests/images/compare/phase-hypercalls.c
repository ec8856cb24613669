/* (a) Hypercalls: each exit shows L1 all of L2's registers, and each entry brings them back. L2 runs on L1's own page
   tables here, in all other phases on tables of its own. */
#include "compare.h"

#define ROUNDS 10
#define VMCALL_LENGTH 3
#define RFLAGS_CF 1ul
#define PATTERN(n) (0x0123456789abc000ul + (n))

void l2_registers_entry(void);
extern const u8 l2_registers_vmcall[];
extern volatile u32 l2_registers_lost;

static bool registers_are_patterns(void) {
  const u64 registers[] = {l2.rax, l2.rcx, l2.rdx, l2.rbx, 0,      l2.rbp, l2.rsi, l2.rdi,
                           l2.r8,  l2.r9,  l2.r10, l2.r11, l2.r12, l2.r13, l2.r14, l2.r15};
  for (u64 i = 0; i < COUNT_OF(registers); i++)
    if (i != 4 && registers[i] != PATTERN(i))
      return false;
  return true;
}

void phase_hypercalls(void) {
  u32 seen = 0, flags = 0, length = 0, address = 0;
  l2_registers_lost = 0;
  l2_begin(PROFILE_FULL, l2_registers_entry);
  l2_share_page_tables();
  for (u32 round = 0; round < ROUNDS; round++) {
    l2_run();
    if (l2_exit.reason != EXIT_REASON_VMCALL || l2_exit.qualification != 0)
      break;
    seen += registers_are_patterns();
    flags += (vmx_read(VMCS_GUEST_RFLAGS) & RFLAGS_CF) != 0;
    length += l2_exit.length == VMCALL_LENGTH;
    address += l2_exit.rip == (u64)l2_registers_vmcall;
    l2.rax = PATTERN(16);
    vmx_write(VMCS_GUEST_RIP, l2_exit.rip + VMCALL_LENGTH);
  }
  check_equal(seen, ROUNDS, "a1: ten VMCALL exits (18), each with all 15 registers of L2");
  if (seen != ROUNDS)
    print_exit();
  check_equal(address, ROUNDS, "a2: GUEST_RIP is the VMCALL");
  check_equal(length, ROUNDS, "a3: the instruction length of VMCALL is 3");
  check_equal(flags, ROUNDS, "a4: L2's flags are in GUEST_RFLAGS");
  check_equal(l2_registers_lost, 0, "a5: L2 finds its registers and flags again, and RAX as L1 left it");
}
