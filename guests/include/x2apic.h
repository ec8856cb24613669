/* L1's own local APIC in x2APIC mode. */
#pragma once

#include "types.h"

/** Switches to x2APIC mode and enables the APIC; false where the processor has no x2APIC. */
bool x2apic_enable(void);

u32 x2apic_id(void);

/** Sends a vector to this processor. With RFLAGS.IF = 0 it stays pending. */
void x2apic_self_ipi(u8 vector);

void x2apic_end_of_interrupt(void);
