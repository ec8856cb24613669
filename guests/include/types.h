#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef long s64;
typedef _Bool bool;

#define true 1
#define false 0
#define PAGE_SIZE 4096ul
#define PAGE_ALIGNED __attribute__((aligned(4096)))
#define NO_RETURN __attribute__((noreturn))
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
