/* The compiler calls these by itself, so that even a freestanding image must have them. */
#pragma once

#include "types.h"

void *memset(void *target, int byte, u64 bytes);
void *memcpy(void *target, const void *source, u64 bytes);
