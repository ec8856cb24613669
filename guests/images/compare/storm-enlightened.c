/* One burst opens the interface, fills the enlightened VMCS, enters L2 once by VMLAUNCH and then by VMRESUME, with clean
   bits, and goes back to the ordinary VMCS. Before each entry L1 writes into the page where L2 must go on; if L0 reads or
   writes another page, L2 is elsewhere afterwards, or L1 finds no exit. Every piece of L2 ends soon with a hypercall,
   wherever it starts, so that a burst has an end whatever happens. */
#include "storm-enlightened.h"

#include "compare.h"
#include "enlightened-vmcs.h"
#include "hyperv.h"
#include "l2-enlightened.h"
#include "memory.h"

#define BURST_ENTRIES 16
/* CR8 takes 0 to 15. The values of two neighboring entries differ, also across bursts. */
#define PRIORITIES 15
/* In the field of the exit reason before an entry; no exit has this reason. */
#define NO_EXIT 0x7fffu

struct storm_enlightened storm_enlightened;
static u64 delay_turns;
static u32 stale_page;

void storm_enlightened_begin(u64 delay_loops, u32 stale) {
  memset(&storm_enlightened, 0, sizeof storm_enlightened);
  delay_turns = delay_loops;
  stale_page = stale;
}

static void enter(void) {
  u32 named = stale_page == PAGE_ENLIGHTENED ? PAGE_STALE : PAGE_ENLIGHTENED;
  enlightened_fill(PAGE_ENLIGHTENED, l2_steps);
  if (stale_page == PAGE_VIRTUAL_APIC)
    *evmcs_u64(world_page(PAGE_ENLIGHTENED), EVMCS_VIRTUAL_APIC_PAGE_ADDR) = (u64)world_page(PAGE_STALE);
  if (stale_page == PAGE_ENLIGHTENED)
    memcpy(world_page(PAGE_STALE), world_page(PAGE_ENLIGHTENED), PAGE_SIZE);
  enlightened_enter(PAGE_ENLIGHTENED, named);
}

static void step(void) {
  u8 *evmcs = world_page(PAGE_ENLIGHTENED);
  u64 start = (u64)l2_steps + storm_enlightened.entries % L2_STEPS * L2_STEP_BYTES;
  u32 priority = (u32)(1 + storm_enlightened.entries % PRIORITIES);
  *evmcs_u64(evmcs, EVMCS_GUEST_RIP) = start;
  *evmcs_u32(evmcs, EVMCS_VM_EXIT_REASON) = NO_EXIT;
  l2.rdi = priority;
  l2.rsi = delay_turns;
  u32 outcome = l2_enter();
  storm_enlightened.entries++;
  if (outcome || *evmcs_u32(evmcs, EVMCS_VM_EXIT_REASON) != EXIT_REASON_VMCALL)
    storm_enlightened.wrong_reasons++;
  if (*evmcs_u64(evmcs, EVMCS_GUEST_RIP) != start + L2_STEP_VMCALL)
    storm_enlightened.wrong_addresses++;
  if (*virtual_apic(APIC_TASKPRI) != priority << 4 || l2.rax != priority)
    storm_enlightened.wrong_priorities++;
}

void storm_enlightened_burst(void) {
  struct l2_registers registers = l2;
  u32 priority = *virtual_apic(APIC_TASKPRI);
  hyperv_open(world_page(PAGE_VP_ASSIST));
  enter();
  for (u32 i = 0; i < BURST_ENTRIES; i++)
    step();
  enlightened_leave();
  *virtual_apic(APIC_TASKPRI) = priority;
  l2 = registers;
}
