/* The storm's bursts of an L2 that an enlightened VMCS drives. */
#pragma once

#include "types.h"

struct storm_enlightened {
  u64 entries, wrong_reasons, wrong_addresses, wrong_priorities;
};
extern struct storm_enlightened storm_enlightened;

/** `stale`: as for storm(). */
void storm_enlightened_begin(u64 delay_loops, u32 stale);

/** One burst, on L1's side of an exit; afterwards the ordinary VMCS is current, and its L2 has noticed nothing. */
void storm_enlightened_burst(void);
