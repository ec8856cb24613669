/* Never ends: for budgets and time-outs. */
#include "machine.h"
#include "print.h"

u32 image_main(const struct boot_info *boot) {
  (void)boot;
  print("spinning\n");
  for (;;)
    __asm__ volatile("");
}
