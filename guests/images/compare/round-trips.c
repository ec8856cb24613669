/* The round trips: L2 calls, L1 answers, as often as `round-trips=` says, between two markers. */
#include "compare.h"
#include "machine.h"

#define VMCALL_LENGTH 3

u64 round_trips_plain(u64 count);
u64 round_trips_checked(u64 count);
void l2_round_trips(void);

void round_trips(u64 count, bool checked) {
  if (count == 0)
    return;
  l2_begin(PROFILE_FULL, l2_round_trips);
  machine_marker(MARKER_ROUND_TRIPS_BEGIN);
  u64 missing = checked ? round_trips_checked(count) : round_trips_plain(count);
  machine_marker(MARKER_ROUND_TRIPS_END);
  machine_report(REPORT_ROUND_TRIPS, count - missing);
  print("round trips: %lu\n", count - missing);
  check_equal(missing, 0, "t1: all round trips have been made");
  check_equal(vmx_read(VMCS_VM_EXIT_REASON), EXIT_REASON_VMCALL, "t2: the last exit is a VMCALL");
  check_equal(vmx_read(VMCS_GUEST_RIP), (u64)l2_round_trips + VMCALL_LENGTH, "t3: and L2 is behind it");
}
