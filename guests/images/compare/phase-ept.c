/* (d) EPT violations: L2 touches pages that EPT12 does not map, L1 maps them one by one. */
#include "compare.h"
#include "memory.h"

/* Exit qualification of an EPT violation. */
#define DATA_READ 0x01ul
#define DATA_WRITE 0x02ul
#define INSTRUCTION_FETCH 0x04ul
#define WAS_READABLE 0x08ul
#define LINEAR_ADDRESS_VALID 0x80ul
#define NOT_A_TABLE_WALK 0x100ul
#define ADVANCED 0xe00ul
#define ADVANCED_WRITABLE 0x400ul

/* Pages of the window. */
#define WRITTEN 0
#define READ 1
#define CALLED 2
#define READ_ONLY 3
/* Backings beyond. */
#define FAR_DATA 4
#define FAR_TABLE 5
#define SECOND_HOME 6

#define VALUE_1 0x0f1e2d3c4b5a6978ul
#define VALUE_2 0x1122334455667788ul
#define VALUE_3 0x99aabbccddeeff00ul
#define RET 0xc3

/* ---- L2's half. */
static void l2_touch(void) {
  window(WRITTEN)[1] = VALUE_1;
  u64 found = window(READ)[2];
  ((void (*)(void))(L2_WINDOW + CALLED * PAGE_SIZE))();
  found += window(READ_ONLY)[3];
  window(READ_ONLY)[3] = VALUE_1;
  hypercall(found);
  *(volatile u64 *)(L2_FAR_WINDOW + 8) = VALUE_2;
  hypercall(0);
  window(WRITTEN)[1] = VALUE_3;
  hypercall(window(WRITTEN)[1]);
}

/* ---- L1's half. */
static volatile u64 *backing(u32 page) {
  return (volatile u64 *)world_page(PAGE_WINDOW + page);
}

/* Bits 11:9 are defined only where the capability says so, and only for an access that the linear address was meant for. */
static u64 defined_bits(u64 qualification) {
  bool advanced = read_msr(MSR_IA32_VMX_EPT_VPID_CAP) & EPT_CAP_ADVANCED_EXIT_INFO && qualification & NOT_A_TABLE_WALK;
  return advanced ? qualification : qualification & ~ADVANCED;
}

static bool expect_violation(u64 qualification, u64 linear, u64 physical, const char *what) {
  bool advanced = read_msr(MSR_IA32_VMX_EPT_VPID_CAP) & EPT_CAP_ADVANCED_EXIT_INFO && qualification & NOT_A_TABLE_WALK;
  u64 wanted = qualification | LINEAR_ADDRESS_VALID | (advanced ? ADVANCED_WRITABLE : 0);
  l2_run();
  bool passed = l2_exit.reason == EXIT_REASON_EPT_VIOLATION && defined_bits(l2_exit.qualification) == wanted &&
                l2_exit.linear == linear && l2_exit.physical == physical;
  check(passed, what);
  if (!passed) {
    print("      wanted exit 48, qualification %lx, linear %lx, physical %lx\n", wanted, linear, physical);
    print_exit();
  }
  return passed;
}

static bool expect_touch(u64 access, u32 page, u32 word, const char *what) {
  u64 offset = page * PAGE_SIZE + word * 8;
  return expect_violation(access | NOT_A_TABLE_WALK, L2_WINDOW + offset, L2_WINDOW_GPA + offset, what);
}

static bool pages_appear(void) {
  if (!expect_touch(DATA_WRITE, WRITTEN, 1, "d1: a store to an unmapped page exits (48, write, both addresses)"))
    return false;
  check_equal(backing(WRITTEN)[1], 0, "d2: the store has not been done");
  window_map(WRITTEN, WRITTEN, EPT_ALL);
  backing(READ)[2] = VALUE_2;
  if (!expect_touch(DATA_READ, READ, 2, "d3: mapped, it is done; a load from an unmapped page exits (48, read)"))
    return false;
  check_equal(backing(WRITTEN)[1], VALUE_1, "d4: L1 sees what L2 has stored");
  window_map(READ, READ, EPT_ALL);
  *(volatile u8 *)backing(CALLED) = RET;
  if (!expect_touch(INSTRUCTION_FETCH, CALLED, 0, "d5: a call into an unmapped page exits (48, fetch)"))
    return false;
  window_map(CALLED, CALLED, EPT_ALL);
  return true;
}

static bool permissions_hold(void) {
  backing(READ_ONLY)[3] = 1;
  if (!expect_touch(DATA_READ, READ_ONLY, 3, "d6: L2 has returned from there; it loads from another unmapped page"))
    return false;
  window_map(READ_ONLY, READ_ONLY, EPT_READ);
  if (!expect_touch(DATA_WRITE | WAS_READABLE, READ_ONLY, 3, "d7: a store to a page mapped for reading only exits (48)"))
    return false;
  window_map(READ_ONLY, READ_ONLY, EPT_ALL);
  if (!expect_hypercall("d8: writable, the store is done"))
    return false;
  check_equal(l2.rax, VALUE_2 + 1, "d9: L2 has loaded what L1 put into the pages");
  check_equal(backing(READ_ONLY)[3], VALUE_1, "d10: L1 sees what L2 has stored");
  return true;
}

static bool table_walk_exits(void) {
  if (!expect_violation(DATA_READ, L2_FAR_WINDOW + 8, L2_FAR_TABLE_GPA, "d11: an unmapped page table of L2 exits (48, walk)"))
    return false;
  backing(FAR_TABLE)[0] = (L2_WINDOW_GPA + FAR_DATA * PAGE_SIZE) | PTE_PRESENT | PTE_WRITABLE;
  far_table_map(FAR_TABLE);
  if (!expect_violation(DATA_WRITE | NOT_A_TABLE_WALK, L2_FAR_WINDOW + 8, L2_WINDOW_GPA + FAR_DATA * PAGE_SIZE + 8,
                        "d12: then the page behind it (48, write)"))
    return false;
  window_map(FAR_DATA, FAR_DATA, EPT_ALL);
  if (!expect_hypercall("d13: then the store is done"))
    return false;
  check_equal(backing(FAR_DATA)[1], VALUE_2, "d14: L1 sees what L2 has stored");
  return true;
}

static void page_moves(void) {
  window_map(WRITTEN, WRITTEN, 0);
  if (!expect_touch(DATA_WRITE, WRITTEN, 1, "d15: a page that L1 has taken away exits again (48, write)"))
    return;
  window_map(WRITTEN, SECOND_HOME, EPT_ALL);
  if (!expect_hypercall("d16: mapped to another page, the store is done"))
    return;
  check_equal(l2.rax, VALUE_3, "d17: L2 loads what it has stored");
  check_equal(backing(SECOND_HOME)[1], VALUE_3, "d18: it went to the new page");
  check_equal(backing(WRITTEN)[1], VALUE_1, "d19: and not to the old one");
}

void phase_ept(void) {
  for (u32 page = 0; page < WINDOW_PAGES; page++)
    window_map(page, page, 0);
  memset(world_page(PAGE_WINDOW), 0, WINDOW_PAGES * PAGE_SIZE);
  l2_begin(PROFILE_FULL, l2_touch);
  if (pages_appear() && permissions_hold() && table_walk_exits())
    page_moves();
}
