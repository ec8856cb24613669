#include "compare.h"
#include "enlightened-vmcs.h"
#include "hyperv.h"

/* What L0 uses: the page that L1 works with, or a copy of it. */
static u8 *in_use;

void enlightened_fill(u32 page, void (*entry)(void)) {
  u8 *evmcs = world_page(page);
  evmcs_prepare(evmcs);
  vmx_use_enlightened(evmcs);
  world_write_vmcs(PROFILE_ENLIGHTENED, entry);
  vmx_write(VMCS_HOST_RIP, (u64)vmx_exited_enlightened);
  vmx_use_enlightened(0);
}

static void use(u32 page, u32 named, bool resume) {
  in_use = world_page(named);
  hyperv_use(world_page(PAGE_VP_ASSIST), in_use);
  world_use_enlightened(world_page(page), resume);
}

void enlightened_enter(u32 page, u32 named) {
  use(page, named, false);
}

void enlightened_switch(u32 page) {
  use(page, page, true);
}

void enlightened_leave(void) {
  /* In this order: while an enlightened VMCS is in use, L0 need not take a VMPTRLD. */
  vmx_clear(in_use);
  hyperv_close(world_page(PAGE_VP_ASSIST));
  world_use_enlightened(0, false);
}
