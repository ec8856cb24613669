/* What L1 needs of the Hyper-V interface to enter L2 from an enlightened VMCS. */
#pragma once

#include "types.h"

/** Why there is no enlightened VMCS version 1 for L1; a null pointer when there is. */
const char *hyperv_missing(void);

/** Whether L0 honors EVMCS_ENLIGHTENED_MSR_BITMAP. Only when nothing is missing. */
bool hyperv_has_enlightened_msr_bitmap(void);

/** Identifies L1 and enables its VP assist page, which names no enlightened VMCS yet. */
void hyperv_open(u8 *assist_page);

/** Disables the VP assist page: all further VM entries use the current VMCS, and L0 need not look. */
void hyperv_close(u8 *assist_page);

/** Names the enlightened VMCS of all further VM entries; a null pointer: they use the current VMCS. */
void hyperv_use(u8 *assist_page, const u8 *evmcs);
