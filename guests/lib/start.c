#include "arguments.h"
#include "cpu.h"
#include "machine.h"
#include "print.h"

/** What each image defines: its return value is the exit code. */
u32 image_main(const struct boot_info *boot);

/** Called by boot.S, on the image's own stack. */
NO_RETURN void start_image(const struct boot_info *boot) {
  serial_open();
  cpu_tables_load();
  arguments_set((const char *)boot->command_line);
  machine_exit(image_main(boot));
}

/** Called by the exception stubs. */
NO_RETURN void exception_unexpected(const struct exception_frame *frame) {
  print("EXCEPTION in L1: vector %lu, error code %lx, RIP %lx, CR2 %lx, RSP %lx\n", frame->vector, frame->error_code,
        frame->rip, read_cr2(), frame->rsp);
  machine_exit(EXIT_EXCEPTION + (u32)frame->vector);
}
