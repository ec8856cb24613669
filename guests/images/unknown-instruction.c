/* Executes an opcode that no processor defines. Nobody handles the #UD, unless `handler=1` leaves the exception
   handlers in place, which print it and exit with EXIT_EXCEPTION + 6. `opcode=` chooses what is executed:
   `undefined` (0f 04, the default), `ud2`, or `sse` (XORPS while CR4.OSFXSR is 0: a real instruction, switched off). */
#include "arguments.h"
#include "cpu.h"
#include "machine.h"
#include "print.h"

static const char *const keys[] = {"handler", "opcode", 0};

u32 image_main(const struct boot_info *boot) {
  (void)boot;
  static const struct descriptor_table empty = {0};
  arguments_allow(keys);
  print("unknown instruction: now\n");
  if (argument_number("handler", 0) == 0)
    load_idt(&empty);
  if (argument_is("opcode", "ud2"))
    __asm__ volatile("ud2");
  else if (argument_is("opcode", "sse"))
    __asm__ volatile(".byte 0x0f, 0x57, 0xc0");
  else
    __asm__ volatile(".byte 0x0f, 0x04");
  print("FAIL: still running after an unknown instruction\n");
  return EXIT_FAILED;
}
