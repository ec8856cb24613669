#include "table-tree.h"

#include "print.h"

#define POOL_PAGES 32

static u64 pool[POOL_PAGES][512] PAGE_ALIGNED;
static u32 pool_used;

static u64 *take_page(void) {
  if (pool_used == POOL_PAGES)
    refuse("the pool of %u table pages is used up", POOL_PAGES);
  return pool[pool_used++];
}

struct table_tree table_tree_create(u64 link_bits) {
  return (struct table_tree){.root = take_page(), .link_bits = link_bits};
}

static u64 *table_below(const struct table_tree *tree, u64 *entry) {
  if (!*entry)
    *entry = (u64)take_page() | tree->link_bits;
  return (u64 *)(*entry & ENTRY_ADDRESS);
}

u64 *table_tree_entry(const struct table_tree *tree, u64 address, u32 level) {
  u64 *table = tree->root;
  for (u32 at = 4;; at--) {
    u64 *entry = &table[address >> (12 + 9 * (at - 1)) & 511];
    if (at == level)
      return entry;
    table = table_below(tree, entry);
  }
}

void table_tree_map(const struct table_tree *tree, u64 address, u64 target, u64 bits) {
  *(volatile u64 *)table_tree_entry(tree, address, 1) = bits ? target | bits : 0;
}

void table_tree_map_identity(const struct table_tree *tree, u64 start, u64 end, u64 bits, bool large) {
  u64 step = large ? LARGE_PAGE_SIZE : PAGE_SIZE;
  for (u64 address = start; address < end; address += step)
    *table_tree_entry(tree, address, large ? 2 : 1) = address | bits | (large ? ENTRY_LARGE : 0);
}
