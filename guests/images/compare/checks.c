#include "compare.h"

u32 checks_passed, checks_failed, checks_skipped;

void check(bool passed, const char *what) {
  print("%s: %s\n", passed ? "PASS" : "FAIL", what);
  if (passed)
    checks_passed++;
  else
    checks_failed++;
}

void check_equal(u64 got, u64 wanted, const char *what) {
  check(got == wanted, what);
  if (got != wanted)
    print("      got %lx, wanted %lx\n", got, wanted);
}

void skip(const char *what, const char *why) {
  print("SKIP: %s: %s\n", what, why);
  checks_skipped++;
}

void print_exit(void) {
  print("      exit %u %s%s, qualification %lx, RIP %lx, RAX %lx, RCX %lx, interruption %x, linear %lx, physical %lx\n",
        l2_exit.reason & 0xffff, exit_reason_name(l2_exit.reason),
        l2_exit.reason & EXIT_REASON_FAILED_VMENTRY ? " (failed entry)" : "", l2_exit.qualification, l2_exit.rip, l2.rax,
        l2.rcx, l2_exit.interruption, l2_exit.linear, l2_exit.physical);
}

bool expect_exit(u32 reason, u64 qualification, const char *what) {
  l2_run();
  bool passed = l2_exit.reason == reason && l2_exit.qualification == qualification;
  check(passed, what);
  if (!passed) {
    print("      wanted exit %u %s, qualification %lx\n", reason, exit_reason_name(reason), qualification);
    print_exit();
  }
  return passed;
}

bool expect_hypercall(const char *what) {
  if (!expect_exit(EXIT_REASON_VMCALL, 0, what))
    return false;
  l2_skip();
  return true;
}
