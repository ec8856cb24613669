/* The smallest image that says something: one line, then success. */
#include "machine.h"
#include "print.h"

u32 image_main(const struct boot_info *boot) {
  print("hello from L1: %lu MiB of memory, command line \"%s\"\n", boot->memory_bytes >> 20,
        boot->command_line ? (const char *)boot->command_line : "");
  return EXIT_PASSED;
}
