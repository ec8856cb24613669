/* Segment selectors of every image, for C and assembly. Code and data have the numbers of the machine's own boot GDT. */
#pragma once

#define SELECTOR_CODE 0x10
#define SELECTOR_DATA 0x18
#define SELECTOR_TSS 0x20
