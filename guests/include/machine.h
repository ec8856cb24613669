/* The board: what the machine hands over, and its devices. */
#pragma once

#include "exit-codes.h"
#include "types.h"

/** What RDI points at when an image is entered. */
struct boot_info {
  u64 memory_bytes;
  u64 command_line;
};

/** Ends the machine's run with a code; 0 is success. */
NO_RETURN void machine_exit(u32 code);

/** Tells the machine that a measured stretch begins or ends here. */
void machine_marker(u32 number);

/** Hands the machine one figure that the image has counted. Larger values saturate at 2^32 - 1. */
void machine_report(u32 index, u64 value);

/** 8 data bits, no interrupts. No firmware has done this before. */
void serial_open(void);

void serial_put(char byte);
