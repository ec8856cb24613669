#include "l1-pages.h"

#include "memory.h"
#include "vmx-tables.h"

static void bit_set(u8 *bitmap, u32 bit, bool value) {
  u8 mask = (u8)(1u << (bit & 7));
  volatile u8 *byte = bitmap + bit / 8;
  *byte = value ? *byte | mask : *byte & (u8)~mask;
}

void msr_bitmap_set(u8 *bitmap, u32 msr, bool read_exits, bool write_exits) {
  bool high = msr >= 0xc0000000;
  bit_set(bitmap + (high ? MSR_BITMAP_READ_HIGH : MSR_BITMAP_READ_LOW), msr & 0x1fff, read_exits);
  bit_set(bitmap + (high ? MSR_BITMAP_WRITE_HIGH : MSR_BITMAP_WRITE_LOW), msr & 0x1fff, write_exits);
}

void msr_bitmap_intercept_all(u8 *bitmap) {
  memset(bitmap, 0xff, PAGE_SIZE);
}

void pi_descriptor_clear(u8 *descriptor, u8 notification_vector, u32 destination) {
  memset(descriptor, 0, 64);
  descriptor[PI_DESC_NV] = notification_vector;
  *(u32 *)(descriptor + PI_DESC_NDST) = destination;
}

static void locked_or(u8 *base, u32 bit) {
  __asm__ volatile("lock orl %1, %0" : "+m"(((u32 *)base)[bit / 32]) : "r"(1u << (bit % 32)) : "memory", "cc");
}

void pi_descriptor_post(u8 *descriptor, u8 vector) {
  locked_or(descriptor + PI_DESC_PIR, vector);
  locked_or(descriptor + PI_DESC_ON, 0);
}

u32 pi_descriptor_posted(const u8 *descriptor) {
  u32 count = 0;
  for (u32 word = 0; word < 8; word++)
    for (u32 bits = ((const volatile u32 *)descriptor)[word]; bits; bits &= bits - 1)
      count++;
  return count;
}

bool pi_descriptor_outstanding(const u8 *descriptor) {
  return ((const volatile u8 *)descriptor)[PI_DESC_ON] & 1;
}
