/* Four levels of 512 entries: page tables and EPT tables differ only in the bits beside the address. */
#pragma once

#include "types.h"

/* Page tables. */
#define PTE_PRESENT 1ul
#define PTE_WRITABLE 2ul
#define PTE_WRITE_THROUGH 8ul
#define PTE_CACHE_DISABLE 0x10ul

/* EPT tables. */
#define EPT_READ 1ul
#define EPT_WRITE 2ul
#define EPT_EXECUTE 4ul
#define EPT_ALL 7ul
#define EPT_WRITE_BACK (6ul << 3)

#define ENTRY_LARGE 0x80ul
#define ENTRY_ADDRESS 0x000ffffffffff000ul
#define LARGE_PAGE_SIZE (2ul << 20)

/** A tree; `link_bits` stand in each entry that points at a lower table. */
struct table_tree {
  u64 *root;
  u64 link_bits;
};

/** An empty tree from the image's pool of table pages. */
struct table_tree table_tree_create(u64 link_bits);

/** The entry of level 1 (4 KiB) or level 2 (2 MiB) for an address; makes the tables above it. */
u64 *table_tree_entry(const struct table_tree *tree, u64 address, u32 level);

/** Maps one 4 KiB page; zero bits take it away. */
void table_tree_map(const struct table_tree *tree, u64 address, u64 target, u64 bits);

/** Maps a range onto the same addresses, with 2 MiB pages or, without `large`, with 4 KiB pages. Ends are 2 MiB-aligned. */
void table_tree_map_identity(const struct table_tree *tree, u64 start, u64 end, u64 bits, bool large);
