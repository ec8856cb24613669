/* An image whose check fails: the caller must see a failure. `code=N` chooses another exit code than 1. */
#include "arguments.h"
#include "machine.h"
#include "print.h"

static const char *const keys[] = {"code", 0};

u32 image_main(const struct boot_info *boot) {
  (void)boot;
  arguments_allow(keys);
  print("FAIL: this image fails on purpose\n");
  return (u32)argument_number("code", EXIT_FAILED);
}
