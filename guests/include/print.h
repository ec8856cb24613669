#pragma once

#include "types.h"

/** Prints to the serial port: %s %c %u %x %lu %lx %%, where %x and %lx print `0x` themselves. */
__attribute__((format(printf, 1, 2))) void print(const char *format, ...);

/** Prints one line that says what is missing, and exits with EXIT_REFUSED. */
NO_RETURN __attribute__((format(printf, 1, 2))) void refuse(const char *format, ...);
