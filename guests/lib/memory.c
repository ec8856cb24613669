#include "memory.h"

void *memset(void *target, int byte, u64 bytes) {
  void *cursor = target;
  __asm__ volatile("rep stosb" : "+D"(cursor), "+c"(bytes) : "a"(byte) : "memory");
  return target;
}

void *memcpy(void *target, const void *source, u64 bytes) {
  void *cursor = target;
  __asm__ volatile("rep movsb" : "+D"(cursor), "+S"(source), "+c"(bytes) : : "memory");
  return target;
}
