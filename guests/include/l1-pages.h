/* The hardware structures that L1 keeps in its memory for L2. */
#pragma once

#include "types.h"

/** Lets an MSR pass, or makes its reads or writes exit. The MSR must be in one of the two ranges of the bitmap. */
void msr_bitmap_set(u8 *bitmap, u32 msr, bool read_exits, bool write_exits);

/** Makes every MSR access exit. */
void msr_bitmap_intercept_all(u8 *bitmap);

/** A 64-byte descriptor: no vector posted, notifications on. */
void pi_descriptor_clear(u8 *descriptor, u8 notification_vector, u32 destination);

/** Posts a vector and sets ON, as a sender on another processor would: with locked instructions. */
void pi_descriptor_post(u8 *descriptor, u8 vector);

/** How many vectors are posted and not yet taken. */
u32 pi_descriptor_posted(const u8 *descriptor);

bool pi_descriptor_outstanding(const u8 *descriptor);
