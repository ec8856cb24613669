/* An exception that cannot be delivered: the IDT is empty, so that #BP becomes a double and then a triple fault. */
#include "cpu.h"
#include "machine.h"
#include "print.h"

u32 image_main(const struct boot_info *boot) {
  (void)boot;
  static const struct descriptor_table empty = {0};
  print("triple fault: now\n");
  load_idt(&empty);
  __asm__ volatile("int3");
  print("FAIL: still running after a triple fault\n");
  return EXIT_FAILED;
}
