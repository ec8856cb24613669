/* L1's half of the storm. While it lasts, the host may move, drop and remap what it likes: L1 counts whatever is not as it
   must be, and never stops for it. The storm ends when L2 has made its steps, or after a fixed number of exits. */
#include "storm.h"

#include "compare.h"
#include "l1-pages.h"
#include "machine.h"
#include "memory.h"
#include "storm-enlightened.h"
#include "x2apic.h"

#define FIRST_REPORT 0x10
#define VECTOR_FIRST 0xd1
#define VECTORS 14
#define POST_EVERY 2
#define UNMAP_EVERY 4
#define BURST_EVERY 4
#define PRINTED_EXITS 8
#define EXITS_PER_ITERATION 8
#define EXITS_BESIDE 1000
#define ACCESS_OFFSET 0xffful
#define ACCESS_TYPE 0xf000ul

/* The order is the order of the report indices. */
enum counter {
  ITERATIONS,
  EXITS,
  PRIORITY_MISMATCHES,
  VTPR_MISMATCHES,
  ACCESSES_EXITED,
  ACCESSES_NOT_EXITED,
  MSR_MISMATCHES,
  MSRS_EXITED,
  MSRS_NOT_EXITED,
  WINDOW_MISMATCHES,
  POSTED,
  RECEIVED,
  LATE,
  LOST,
  SPURIOUS,
  UNEXPECTED,
  VIOLATIONS,
  ANOMALIES,
  ENLIGHTENED_ENTRIES,
  ENLIGHTENED_REASONS,
  ENLIGHTENED_ADDRESSES,
  ENLIGHTENED_PRIORITIES,
  COUNTERS,
};

static const struct {
  const char *text;
  bool anomaly;
} meaning[COUNTERS] = {
    [ITERATIONS] = {"iterations of L2", false},
    [EXITS] = {"exits to L1", false},
    [PRIORITY_MISMATCHES] = {"TPR loads that differ from the store before", true},
    [VTPR_MISMATCHES] = {"VTPR values in L1's virtual-APIC page that differ from L2's last store", true},
    [ACCESSES_EXITED] = {"virtualized APIC accesses that exited", true},
    [ACCESSES_NOT_EXITED] = {"APIC accesses that had to exit and did not", true},
    [MSR_MISMATCHES] = {"MSR reads that differ from the write before", true},
    [MSRS_EXITED] = {"MSR accesses that exited though the bitmap passes them", true},
    [MSRS_NOT_EXITED] = {"MSR accesses that did not exit though the bitmap intercepts them", true},
    [WINDOW_MISMATCHES] = {"loads from the window that differ from the store before", true},
    [POSTED] = {"interrupts posted", false},
    [RECEIVED] = {"interrupts received", false},
    [LATE] = {"posted interrupts not received by the next look", true},
    [LOST] = {"posted interrupts never received", true},
    [SPURIOUS] = {"interrupts received and not posted", true},
    [UNEXPECTED] = {"unexpected exits", true},
    [VIOLATIONS] = {"EPT violations of pages that L1 had taken away", false},
    [ANOMALIES] = {"anomalies", false},
    [ENLIGHTENED_ENTRIES] = {"entries from the enlightened VMCS", false},
    [ENLIGHTENED_REASONS] = {"exit reasons in the enlightened VMCS that are not that of the exit", true},
    [ENLIGHTENED_ADDRESSES] = {"RIPs in the enlightened VMCS that do not follow what L1 wrote", true},
    [ENLIGHTENED_PRIORITIES] = {"TPRs of the enlightened L2 that differ in the virtual-APIC page or when loaded", true},
};

static u64 counters[COUNTERS];
static u32 posted_per_vector[256];

/* What L1 has arranged for the stretch that L2 is in, and what it has seen of it. */
static struct {
  u64 number;
  bool msr_intercepted, msr_exited, access_exited;
  bool mapped[WINDOW_PAGES];
  u8 vector;
  u32 vector_received;
} stretch;

static u8 *bitmap(void) {
  return world_page(PAGE_MSR_BITMAP);
}

static void unexpected(void) {
  if (counters[UNEXPECTED]++ < PRINTED_EXITS) {
    print("storm: unexpected exit after %lu iterations\n", storm_l2.done);
    print_exit();
  }
}

/* ---- The periodic work, at each CPUID of L2. */
static void look_at_priority(void) {
  if (*virtual_apic(APIC_TASKPRI) != storm_l2.priority)
    counters[VTPR_MISMATCHES]++;
}

static void look_at_exits(bool complete) {
  if (!complete)
    return;
  if (!stretch.access_exited)
    counters[ACCESSES_NOT_EXITED]++;
  if (stretch.msr_intercepted && !stretch.msr_exited)
    counters[MSRS_NOT_EXITED]++;
  stretch.access_exited = stretch.msr_exited = false;
  stretch.msr_intercepted = !stretch.msr_intercepted;
  msr_bitmap_set(bitmap(), MSR_IA32_KERNEL_GS_BASE, stretch.msr_intercepted, false);
}

static void look_at_interrupt(void) {
  if (stretch.vector && interrupts.per_vector[stretch.vector] == stretch.vector_received)
    counters[LATE]++;
  stretch.vector = 0;
}

static void post_next(void) {
  if (!has_posted_interrupts || stretch.number % POST_EVERY)
    return;
  stretch.vector = (u8)(VECTOR_FIRST + counters[POSTED] % VECTORS);
  stretch.vector_received = interrupts.per_vector[stretch.vector];
  counters[POSTED]++;
  posted_per_vector[stretch.vector]++;
  world_post(stretch.vector);
}

static void take_page_away(void) {
  if (stretch.number % UNMAP_EVERY)
    return;
  u32 page = stretch.number / UNMAP_EVERY % WINDOW_PAGES;
  window_map(page, page, 0);
  stretch.mapped[page] = false;
}

/* Before anything is posted: the enlightened L2 must not meet the notification. */
static void enter_enlightened(void) {
  if (!enlightened_missing && stretch.number % BURST_EVERY == BURST_EVERY - 1)
    storm_enlightened_burst();
}

static void on_cpuid(void) {
  bool draining = stretch.number >= storm_l2.iterations / STORM_STRETCH;
  look_at_priority();
  look_at_exits(!draining);
  look_at_interrupt();
  enter_enlightened();
  stretch.number++;
  if (!draining) {
    post_next();
    take_page_away();
  }
  l2_skip();
}

/* ---- The other exits. True: L2 can go on. */
static bool on_apic_access(void) {
  if (l2_exit.qualification == APIC_TMCCT)
    stretch.access_exited = true;
  else
    counters[ACCESSES_EXITED]++;
  if (!(l2_exit.qualification & ACCESS_TYPE))
    l2.rax = (l2_exit.qualification & ACCESS_OFFSET) == APIC_TASKPRI ? storm_l2.priority : 0;
  l2_skip_access();
  return true;
}

static bool on_msr_read(void) {
  if (l2.rcx == MSR_IA32_KERNEL_GS_BASE)
    stretch.msr_exited = true;
  if (l2.rcx != MSR_IA32_KERNEL_GS_BASE || !stretch.msr_intercepted)
    counters[MSRS_EXITED]++;
  l2.rax = (u32)storm_l2.fs_base;
  l2.rdx = storm_l2.fs_base >> 32;
  l2_skip();
  return true;
}

static bool on_msr_write(void) {
  counters[MSRS_EXITED]++;
  l2_skip();
  return true;
}

static bool on_violation(void) {
  u64 page = (l2_exit.physical - L2_WINDOW_GPA) / PAGE_SIZE;
  if (page < WINDOW_PAGES && !stretch.mapped[page]) {
    counters[VIOLATIONS]++;
    window_map((u32)page, (u32)page, EPT_ALL);
    stretch.mapped[page] = true;
    return true;
  }
  unexpected();
  /* EPT12 maps the APIC-access page: the access is lost, L2 is not. */
  if (l2_exit.linear / PAGE_SIZE == L2_APIC / PAGE_SIZE) {
    l2_skip_access();
    return true;
  }
  return page < WINDOW_PAGES;
}

static bool on_external_interrupt(void) {
  unexpected();
  x2apic_end_of_interrupt();
  return true;
}

static bool on_exit(void) {
  switch (l2_exit.reason) {
  case EXIT_REASON_CPUID:
    on_cpuid();
    return true;
  case EXIT_REASON_APIC_ACCESS:
    return on_apic_access();
  case EXIT_REASON_MSR_READ:
    return on_msr_read();
  case EXIT_REASON_MSR_WRITE:
    return on_msr_write();
  case EXIT_REASON_EPT_VIOLATION:
    return on_violation();
  case EXIT_REASON_EXTERNAL_INTERRUPT:
    return on_external_interrupt();
  default:
    unexpected();
    /* These come after the instruction, so that L2 can go on; after any other exit it cannot. */
    return l2_exit.reason == EXIT_REASON_APIC_WRITE || l2_exit.reason == EXIT_REASON_EOI_INDUCED;
  }
}

static void begin(u64 iterations, u64 delay_loops, u32 stale) {
  static const struct storm_l2 nothing;
  storm_l2 = nothing;
  storm_l2.iterations = iterations;
  storm_l2.delay_loops = delay_loops;
  memset((void *)&interrupts, 0, sizeof interrupts);
  memset(&stretch, 0, sizeof stretch);
  memset(counters, 0, sizeof counters);
  memset(posted_per_vector, 0, sizeof posted_per_vector);
  storm_enlightened_begin(delay_loops, stale);
  l2_begin(PROFILE_FULL, l2_storm);
  msr_bitmap_set(bitmap(), MSR_IA32_FS_BASE, false, false);
  stretch.msr_intercepted = true;
  memset(world_page(PAGE_WINDOW), 0, WINDOW_PAGES * PAGE_SIZE);
  for (u32 page = 0; page < WINDOW_PAGES; page++)
    window_map(page, page, 0);
  world_make_stale(stale);
}

static void run(u64 exits_max) {
  for (;;) {
    l2_run();
    if (l2_exit.reason == EXIT_REASON_VMCALL)
      return;
    if (++counters[EXITS] > exits_max) {
      print("storm: more than %lu exits, given up\n", exits_max);
      unexpected();
      return;
    }
    if (!on_exit())
      return;
  }
}

/* By vector: a lost one must not hide behind another that nobody has posted. */
static void count_interrupts(void) {
  for (u32 vector = 0; vector < COUNT_OF(posted_per_vector); vector++) {
    u32 posted = posted_per_vector[vector];
    u32 received = interrupts.per_vector[vector];
    if (received < posted)
      counters[LOST] += posted - received;
    else
      counters[SPURIOUS] += received - posted;
  }
}

static void conclude(void) {
  counters[ITERATIONS] = storm_l2.done;
  counters[PRIORITY_MISMATCHES] = storm_l2.priority_mismatches;
  counters[MSR_MISMATCHES] = storm_l2.msr_mismatches;
  counters[WINDOW_MISMATCHES] = storm_l2.window_mismatches;
  counters[RECEIVED] = interrupts.count;
  counters[ENLIGHTENED_ENTRIES] = storm_enlightened.entries;
  counters[ENLIGHTENED_REASONS] = storm_enlightened.wrong_reasons;
  counters[ENLIGHTENED_ADDRESSES] = storm_enlightened.wrong_addresses;
  counters[ENLIGHTENED_PRIORITIES] = storm_enlightened.wrong_priorities;
  count_interrupts();
  for (u32 i = 0; i < COUNTERS; i++)
    counters[ANOMALIES] += meaning[i].anomaly ? counters[i] : 0;
  for (u32 i = 0; i < COUNTERS; i++) {
    machine_report(FIRST_REPORT + i, counters[i]);
    if (i != ANOMALIES)
      print("storm: %lu %s\n", counters[i], meaning[i].text);
  }
  print("storm: %lu %s\n", counters[ANOMALIES], meaning[ANOMALIES].text);
}

void storm(u64 iterations, u64 delay_loops, u32 stale) {
  if (iterations == 0)
    return;
  begin(iterations, delay_loops, stale);
  machine_marker(MARKER_STORM_BEGIN);
  run(iterations * EXITS_PER_ITERATION + EXITS_BESIDE);
  machine_marker(MARKER_STORM_END);
  conclude();
}
