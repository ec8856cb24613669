#include "arguments.h"
#include "compare.h"
#include "machine.h"

#define ROUND_TRIPS_DEFAULT 1000
#define STORM_DEFAULT 512
#define DELAY_DEFAULT 64

static const char *const keys[] = {"pages", "round-trips", "storm", "check", "delay", "stale", 0};

/* In the order of the pages. */
static const char *const stale_names[] = {"msr-bitmap", "apic-access", "virtual-apic", "pi-descriptor", "evmcs", "none"};

static u32 stale_page(void) {
  for (u32 page = 0; page < COUNT_OF(stale_names); page++)
    if (argument_is("stale", stale_names[page]))
      return page;
  if (argument_present("stale"))
    refuse("command line: stale is msr-bitmap, apic-access, virtual-apic, pi-descriptor, evmcs or none");
  return PAGE_KINDS;
}

u32 image_main(const struct boot_info *boot) {
  (void)boot;
  arguments_allow(keys);
  u64 trips = argument_number("round-trips", ROUND_TRIPS_DEFAULT);
  u64 iterations = argument_number("storm", STORM_DEFAULT);
  bool checked = argument_number("check", 0) != 0;
  u64 delay_loops = argument_number("delay", DELAY_DEFAULT);
  u32 stale = stale_page();
  world_create(argument_number("pages", 0));
  world_print();
  phase_hypercalls();
  phase_apic();
  phase_msr();
  phase_ept();
  phase_posted();
  phase_enlightened();
  round_trips(trips, checked);
  storm(iterations, delay_loops, stale);
  machine_report(REPORT_CHECKS_PASSED, checks_passed);
  machine_report(REPORT_CHECKS_FAILED, checks_failed);
  machine_report(REPORT_CHECKS_SKIPPED, checks_skipped);
  print("checks: %u passed, %u failed, %u skipped\n", checks_passed, checks_failed, checks_skipped);
  return checks_failed ? EXIT_FAILED : EXIT_PASSED;
}
