/* compare.elf: an L1 that uses every kind of page a nested VMCS can name, and an L2 that shows that each one works.
   Files: world.c (memory, controls, entering L2), enlightened.c (the same from an enlightened VMCS), checks.c (PASS and
   FAIL), phase-*.c (one subject each: L2's half, then L1's), round-trips.* and storm*.c (the measured part), main.c. */
#pragma once

#include "cpu.h"
#include "print.h"
#include "table-tree.h"
#include "types.h"
#include "vmx.h"

/* ---- Memory: 16 pages, at `pages=` or in the image. */
#define PAGES_COUNT 16
#define PAGE_MSR_BITMAP 0
#define PAGE_APIC_ACCESS 1
#define PAGE_VIRTUAL_APIC 2
#define PAGE_PI_DESCRIPTOR 3
#define PAGE_ENLIGHTENED 4
/* So many pages are of a kind that L0 keeps hold of; the others are not. */
#define PAGE_KINDS 5
#define PAGE_ENLIGHTENED_OTHER 5
/* The copy of one of the first five that `stale=` makes L0 use. */
#define PAGE_STALE 6
#define PAGE_VP_ASSIST 7
#define PAGE_WINDOW 8
#define WINDOW_PAGES 8

/* The descriptor is 64 bytes somewhere in its page, so that whoever maps the page must keep the offset. */
#define PI_DESCRIPTOR_OFFSET 0x140

/* L2 sees the APIC-access page here, both as linear and as guest-physical address. */
#define L2_APIC 0xfee00000ul
/* A window of L2: linear, guest-physical and L1's addresses all differ. */
#define L2_WINDOW 0x8000000000ul
#define L2_WINDOW_GPA 0x40000000ul
/* A second linear window, whose page table L2 finds at this guest-physical address. */
#define L2_FAR_WINDOW (L2_WINDOW + LARGE_PAGE_SIZE)
#define L2_FAR_TABLE_GPA (L2_WINDOW_GPA + WINDOW_PAGES * PAGE_SIZE)

#define NOTIFICATION_VECTOR 0xf2

/* ---- What L1 asks of the processor for a phase. */
enum profile {
  /** APIC accesses are virtualized, the TPR is not shadowed: every access exits. */
  PROFILE_APIC_ACCESS,
  /** Plus the TPR shadow. */
  PROFILE_TPR_SHADOW,
  /** Everything that is offered. */
  PROFILE_FULL,
  /** What an enlightened VMCS has fields for: TPR shadow, MSR bitmap, EPT. An interrupt for L1 waits until L2 has exited. */
  PROFILE_ENLIGHTENED,
};

struct l2_exit {
  u32 reason, length, interruption;
  u64 qualification, rip, linear, physical;
};

extern struct l2_registers l2;
extern struct l2_exit l2_exit;
extern bool has_register_virtualization, has_virtual_interrupts, has_posted_interrupts;

void world_create(u64 pages);
void world_print(void);
u8 *world_page(u32 index);
u8 *world_pi_descriptor(void);
u32 *virtual_apic(u32 offset);
/** Posts a vector to L2 and notifies this processor, which takes the notification when L2 runs. */
void world_post(u8 vector);

/** Maps one page of the window in EPT12, or takes it away when `permissions` is 0 (with INVEPT, as for each reduction). */
void window_map(u32 page, u32 backing, u64 permissions);
void far_table_map(u32 backing);
void world_invept(void);

/** Gives L2 a new start, with L2's own page tables. */
void l2_begin(enum profile profile, void (*entry)(void));
void l2_share_page_tables(void);
/** What l2_begin() writes into the VMCS, alone: L1's pages and L2's registers stay as they are. */
void world_write_vmcs(enum profile profile, void (*entry)(void));

/** Enters L2 once and leaves it at that: vmx_run()'s result. */
u32 l2_enter(void);
/** Runs L2 to its next exit, which is then in `l2` and `l2_exit`. */
void l2_run(void);
/** Moves L2 behind the instruction that exited. */
void l2_skip(void);
/** Moves L2 behind an access of its own that cannot tell its length: L2 has left the next address in R11. */
void l2_skip_access(void);

/** Makes the VMCS name a copy of one of the first four pages: what L1 then does to the page, L2 does not notice, as if L0
    had kept a page that is no longer the right one. Any other number: nothing. */
void world_make_stale(u32 page);

/* ---- The enlightened VMCS. While one is in use, everything above that reads or writes the VMCS goes to its page. */
/** Why there is none; a null pointer when there is. */
extern const char *enlightened_missing;
/** Makes all of the above use an enlightened VMCS, entered by VMLAUNCH first or at once by VMRESUME; a null pointer: the
    ordinary VMCS, which becomes current again. */
void world_use_enlightened(u8 *page, bool resume);
/** Writes a whole enlightened VMCS into a page: a new start of L2. */
void enlightened_fill(u32 page, void (*entry)(void));
/** L2 is that of an enlightened VMCS from now on; it starts by VMLAUNCH. L1 works with `page`, L0 with `named`. */
void enlightened_enter(u32 page, u32 named);
/** The same L2, which VMRESUME takes from another page. */
void enlightened_switch(u32 page);
/** L2 is that of the ordinary VMCS again. */
void enlightened_leave(void);

/* ---- Verdicts. */
void check(bool passed, const char *what);
void check_equal(u64 got, u64 wanted, const char *what);
void skip(const char *what, const char *why);
/** Runs L2 and checks why it came back; on false the phase cannot go on. */
bool expect_exit(u32 reason, u64 qualification, const char *what);
/** The same for a VMCALL, which L1 completes; RAX is then L2's first argument. */
bool expect_hypercall(const char *what);
void print_exit(void);
extern u32 checks_passed, checks_failed, checks_skipped;

/* ---- L2's side. */
static inline u64 hypercall(u64 argument) {
  __asm__ volatile("vmcall" : "+a"(argument) : : "memory");
  return argument;
}

static inline u32 apic_read(u32 offset) {
  u32 value;
  __asm__ volatile("lea 1f(%%rip), %%r11\n\tmovl (%1), %0\n1:" : "=a"(value) : "D"(L2_APIC + offset) : "r11", "memory");
  return value;
}

static inline void apic_write(u32 offset, u32 value) {
  __asm__ volatile("lea 1f(%%rip), %%r11\n\tmovl %0, (%1)\n1:" : : "a"(value), "D"(L2_APIC + offset) : "r11", "memory");
}

static inline volatile u64 *window(u32 page) {
  return (volatile u64 *)(L2_WINDOW + page * PAGE_SIZE);
}

static inline void delay(u64 loops) {
  while (loops--)
    __asm__ volatile("");
}

static inline void interrupts_on(void) {
  __asm__ volatile("sti; nop" : : : "memory");
}

static inline void interrupts_off(void) {
  __asm__ volatile("cli" : : : "memory");
}

/** What L2's interrupt handler has seen. L1 clears it. */
#define INTERRUPT_LOG 8
struct interrupt_log {
  u32 count;
  u32 vectors[INTERRUPT_LOG];
  /** Whether the vector stood in the ISR register while its handler ran; read only on demand. */
  bool read_in_service;
  u32 in_service;
  u32 per_vector[256];
};
extern volatile struct interrupt_log interrupts;
extern struct idt_gate l2_idt[256];
void l2_idt_fill(void);

/* ---- The parts. */
void phase_hypercalls(void);
void phase_apic(void);
void phase_msr(void);
void phase_ept(void);
void phase_posted(void);
void phase_enlightened(void);
void round_trips(u64 count, bool checked);
/** `stale`: the page of which L0 gets to see a copy; PAGE_KINDS: of none. */
void storm(u64 iterations, u64 delay_loops, u32 stale);

/* Marker and report numbers; README.md explains them. */
#define MARKER_ROUND_TRIPS_BEGIN 1
#define MARKER_ROUND_TRIPS_END 2
#define MARKER_STORM_BEGIN 3
#define MARKER_STORM_END 4

#define REPORT_CHECKS_PASSED 0x01
#define REPORT_CHECKS_FAILED 0x02
#define REPORT_CHECKS_SKIPPED 0x03
#define REPORT_ROUND_TRIPS 0x04
