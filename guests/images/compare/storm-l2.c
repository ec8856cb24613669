/* L2's half of the storm: everything that the pages serve, over and over, with the results compared. It makes a fixed
   number of steps whatever it finds. */
#include "compare.h"
#include "storm.h"

#define LONG_EVERY 64
#define LONG_FACTOR 16
/* Below every vector that L1 posts, so that none may wait. */
#define PRIORITY_CLASSES 12

volatile struct storm_l2 storm_l2;

static struct {
  u32 word;
  u64 value;
} last_stored[WINDOW_PAGES];

static void priority_step(u64 i) {
  u32 priority = (u32)(i % PRIORITY_CLASSES << 4 | (i & 15));
  storm_l2.priority = priority;
  apic_write(APIC_TASKPRI, priority);
  delay(storm_l2.delay_loops);
  if (apic_read(APIC_TASKPRI) != priority)
    storm_l2.priority_mismatches++;
}

static void msr_step(u64 i) {
  u64 value = 0x7f0000000000 + i * 16;
  storm_l2.fs_base = value;
  write_msr(MSR_IA32_FS_BASE, value);
  if (read_msr(MSR_IA32_FS_BASE) != value)
    storm_l2.msr_mismatches++;
}

static void window_step(u64 i) {
  u32 page = i % WINDOW_PAGES;
  u32 word = i / WINDOW_PAGES % 512;
  u64 value = 0x5707a00000000000 + i;
  if (window(page)[last_stored[page].word] != last_stored[page].value)
    storm_l2.window_mismatches++;
  window(page)[word] = value;
  last_stored[page].word = word;
  last_stored[page].value = value;
}

void l2_storm(void) {
  for (u32 page = 0; page < WINDOW_PAGES; page++)
    last_stored[page].word = last_stored[page].value = 0;
  interrupts_on();
  for (u64 i = 0; i < storm_l2.iterations; i++) {
    priority_step(i);
    msr_step(i);
    window_step(i);
    /* L1 knows that each stretch has one of each, and whether it must exit. */
    if (i % STORM_STRETCH == 3)
      read_msr(MSR_IA32_KERNEL_GS_BASE);
    if (i % STORM_STRETCH == 5)
      apic_read(APIC_TMCCT);
    if (i % LONG_EVERY == LONG_EVERY - 1)
      delay(storm_l2.delay_loops * LONG_FACTOR);
    storm_l2.done = i + 1;
    if (i % STORM_STRETCH == STORM_STRETCH - 1)
      read_cpuid(0, 0);
  }
  for (u32 i = 0; i < STORM_DRAIN; i++) {
    delay(storm_l2.delay_loops * LONG_FACTOR);
    read_cpuid(0, 0);
  }
  hypercall(0);
}
