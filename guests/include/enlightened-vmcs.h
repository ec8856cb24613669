/* An enlightened VMCS, version 1: a page of L1's memory whose fields L1 reads and writes without VMREAD and VMWRITE, and
   whose clean bits tell L0 which groups of fields have not changed since the last entry. */
#pragma once

#include "types.h"
#include "vmx-tables.h"

#define EVMCS_BYTES 1024
#define EVMCS_VERSION 1
/** Bit of EVMCS_HV_ENLIGHTENMENTS_CONTROL: the clean bit of the MSR bitmap speaks for its content, too. */
#define EVMCS_ENLIGHTENED_MSR_BITMAP 2u

/** All fields zero, no group clean. */
void evmcs_prepare(u8 *page);

/** A field by its VMCS encoding; a write makes its group unclean. False: version 1 lacks the field. */
bool evmcs_read(const u8 *page, u32 field, u64 *value);
bool evmcs_write(u8 *page, u32 field, u64 value);

/** A field by its offset; clean bits stay as they are. */
static inline u32 *evmcs_u32(u8 *page, u32 offset) {
  return (u32 *)(page + offset);
}

static inline u64 *evmcs_u64(u8 *page, u32 offset) {
  return (u64 *)(page + offset);
}
