/* What the two halves of the storm share. */
#pragma once

#include "types.h"

/** Iterations of L2 from one CPUID to the next; each of L1's periodic checks looks at one such stretch. */
#define STORM_STRETCH 8
/** CPUIDs at the end, for what is still on its way. */
#define STORM_DRAIN 4

/** Written by L2, read by L1 when L2 has exited. */
struct storm_l2 {
  u64 iterations, delay_loops;
  u64 done;
  /** What L2 has last stored to its TPR, and to FS base. */
  u32 priority;
  u64 fs_base;
  u64 priority_mismatches, msr_mismatches, window_mismatches;
};
extern volatile struct storm_l2 storm_l2;

void l2_storm(void);
