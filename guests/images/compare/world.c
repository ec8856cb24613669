#include "compare.h"
#include "hyperv.h"
#include "l1-pages.h"
#include "machine.h"
#include "memory.h"
#include "x2apic.h"

#define EPT_POINTER_WRITE_BACK 6ul
#define EPT_POINTER_FOUR_LEVELS (3ul << 3)
#define L2_VPID 1
#define PTE_ALL (PTE_PRESENT | PTE_WRITABLE)

extern u8 image_end[];

struct l2_registers l2;
struct l2_exit l2_exit;
bool has_register_virtualization, has_virtual_interrupts, has_posted_interrupts;
const char *enlightened_missing;

static u8 static_pages[PAGES_COUNT * PAGE_SIZE] PAGE_ALIGNED;
static u8 vmcs[PAGE_SIZE] PAGE_ALIGNED;
static u8 l2_stack[16384] __attribute__((aligned(16)));
static u8 *pages = static_pages;
static struct table_tree ept, l2_tables;
static struct vmx_controls offered;
/* Of the ordinary VMCS, and of the enlightened one. */
static bool launched[2];
static bool is_enlightened;

u8 *world_page(u32 index) {
  return pages + index * PAGE_SIZE;
}

u8 *world_pi_descriptor(void) {
  return world_page(PAGE_PI_DESCRIPTOR) + PI_DESCRIPTOR_OFFSET;
}

u32 *virtual_apic(u32 offset) {
  return (u32 *)(world_page(PAGE_VIRTUAL_APIC) + offset);
}

void world_post(u8 vector) {
  pi_descriptor_post(world_pi_descriptor(), vector);
  x2apic_self_ipi(NOTIFICATION_VECTOR);
}

static u64 ept_pointer(void) {
  return (u64)ept.root | EPT_POINTER_FOUR_LEVELS | EPT_POINTER_WRITE_BACK;
}

void world_invept(void) {
  vmx_invept(ept_pointer());
}

void window_map(u32 page, u32 backing, u64 permissions) {
  table_tree_map(&ept, L2_WINDOW_GPA + page * PAGE_SIZE, (u64)world_page(PAGE_WINDOW + backing),
                 permissions ? permissions | EPT_WRITE_BACK : 0);
  if (permissions != EPT_ALL)
    world_invept();
}

void far_table_map(u32 backing) {
  table_tree_map(&ept, L2_FAR_TABLE_GPA, (u64)world_page(PAGE_WINDOW + backing), EPT_ALL | EPT_WRITE_BACK);
}

/* L2 may run the image and nothing else of L1's memory; the window fills up through EPT violations. */
static void ept_create(void) {
  u64 end = ((u64)image_end + LARGE_PAGE_SIZE - 1) & ~(LARGE_PAGE_SIZE - 1);
  bool large = read_msr(MSR_IA32_VMX_EPT_VPID_CAP) & EPT_CAP_2M_PAGES;
  ept = table_tree_create(EPT_ALL);
  table_tree_map_identity(&ept, 0, end, EPT_ALL | EPT_WRITE_BACK, large);
  table_tree_map(&ept, L2_APIC, (u64)world_page(PAGE_APIC_ACCESS), EPT_ALL | EPT_WRITE_BACK);
}

static void l2_tables_create(void) {
  u64 end = ((u64)image_end + LARGE_PAGE_SIZE - 1) & ~(LARGE_PAGE_SIZE - 1);
  l2_tables = table_tree_create(PTE_ALL);
  table_tree_map_identity(&l2_tables, 0, end, PTE_ALL, true);
  table_tree_map(&l2_tables, L2_APIC, L2_APIC, PTE_ALL | PTE_WRITE_THROUGH | PTE_CACHE_DISABLE);
  for (u32 page = 0; page < WINDOW_PAGES; page++)
    table_tree_map(&l2_tables, L2_WINDOW + page * PAGE_SIZE, L2_WINDOW_GPA + page * PAGE_SIZE, PTE_ALL);
  *table_tree_entry(&l2_tables, L2_FAR_WINDOW, 2) = L2_FAR_TABLE_GPA | PTE_ALL;
}

static void controls_choose(void) {
  static const struct vmx_controls required = {
      .proc = CPU_BASED_USE_MSR_BITMAPS | CPU_BASED_TPR_SHADOW | CPU_BASED_ACTIVATE_SECONDARY_CONTROLS,
      .proc2 = SECONDARY_EXEC_ENABLE_EPT | SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES,
      .exit = VM_EXIT_HOST_ADDR_SPACE_SIZE,
      .entry = VM_ENTRY_IA32E_MODE,
  };
  static const struct vmx_controls wanted = {
      .pin = PIN_BASED_EXT_INTR_MASK | PIN_BASED_POSTED_INTR,
      .proc2 = SECONDARY_EXEC_APIC_REGISTER_VIRT | SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY | SECONDARY_EXEC_ENABLE_VPID,
      .exit = VM_EXIT_ACK_INTR_ON_EXIT | VM_EXIT_SAVE_IA32_EFER | VM_EXIT_LOAD_IA32_EFER,
      .entry = VM_ENTRY_LOAD_IA32_EFER,
  };
  offered = vmx_negotiate(&required, &wanted);
  if (!(offered.pin & PIN_BASED_EXT_INTR_MASK))
    offered.proc2 &= ~(u32)SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY;
  if (!(offered.proc2 & SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY) || !(offered.exit & VM_EXIT_ACK_INTR_ON_EXIT))
    offered.pin &= ~(u32)PIN_BASED_POSTED_INTR;
  has_register_virtualization = offered.proc2 & SECONDARY_EXEC_APIC_REGISTER_VIRT;
  has_virtual_interrupts = offered.proc2 & SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY;
  has_posted_interrupts = x2apic_enable() && offered.pin & PIN_BASED_POSTED_INTR;
}

static void write_addresses(const struct vmx_controls *controls) {
  vmx_write(VMCS_EPT_POINTER, ept_pointer());
  vmx_write(VMCS_MSR_BITMAP, (u64)world_page(PAGE_MSR_BITMAP));
  vmx_write(VMCS_VIRTUAL_APIC_PAGE_ADDR, (u64)world_page(PAGE_VIRTUAL_APIC));
  if (controls->proc2 & SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES)
    vmx_write(VMCS_APIC_ACCESS_ADDR, (u64)world_page(PAGE_APIC_ACCESS));
  if (controls->proc2 & SECONDARY_EXEC_ENABLE_VPID)
    vmx_write(VMCS_VIRTUAL_PROCESSOR_ID, L2_VPID);
  if (controls->pin & PIN_BASED_POSTED_INTR) {
    vmx_write(VMCS_POSTED_INTR_DESC_ADDR, (u64)world_pi_descriptor());
    vmx_write(VMCS_POSTED_INTR_NV, NOTIFICATION_VECTOR);
  }
}

/* Every field that the used controls make the processor read. VMCLEAR leaves them undefined. */
static void write_neutral_fields(const struct vmx_controls *controls) {
  static const u32 zero[] = {
      VMCS_PAGE_FAULT_ERROR_CODE_MASK, VMCS_PAGE_FAULT_ERROR_CODE_MATCH, VMCS_CR3_TARGET_COUNT,
      VMCS_VM_EXIT_MSR_STORE_COUNT,    VMCS_VM_EXIT_MSR_LOAD_COUNT,      VMCS_VM_ENTRY_MSR_LOAD_COUNT,
      VMCS_VM_ENTRY_INTR_INFO_FIELD,   VMCS_TPR_THRESHOLD,               VMCS_CR0_GUEST_HOST_MASK,
      VMCS_CR4_GUEST_HOST_MASK,        VMCS_CR0_READ_SHADOW,             VMCS_CR4_READ_SHADOW,
  };
  static const u32 end_of_interrupt[] = {VMCS_EOI_EXIT_BITMAP0, VMCS_EOI_EXIT_BITMAP1, VMCS_EOI_EXIT_BITMAP2,
                                         VMCS_EOI_EXIT_BITMAP3, VMCS_GUEST_INTR_STATUS};
  for (u64 i = 0; i < COUNT_OF(zero); i++)
    vmx_write(zero[i], 0);
  bool virtual_interrupts = controls->proc2 & SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY;
  for (u64 i = 0; virtual_interrupts && i < COUNT_OF(end_of_interrupt); i++)
    vmx_write(end_of_interrupt[i], 0);
  /* L2 has no exception handlers: whatever it raises comes to L1, by name. */
  vmx_write(VMCS_EXCEPTION_BITMAP, 0xffffffff);
}

void world_create(u64 pages_address) {
  if (pages_address & (PAGE_SIZE - 1) || pages_address + sizeof static_pages > 1ul << 32)
    refuse("pages=%lx: the 16 pages must be page-aligned and below 4 GiB", pages_address);
  if (pages_address)
    pages = (u8 *)pages_address;
  memset(pages, 0, sizeof static_pages);
  vmx_enable();
  controls_choose();
  ept_create();
  l2_tables_create();
  l2_idt_fill();
  vmx_load(vmcs);
  enlightened_missing = hyperv_missing();
}

/* An entry that loads another CR3 keeps what is cached under a VPID. */
static void page_tables_set(u64 root) {
  vmx_write(VMCS_GUEST_CR3, root);
  if (offered.proc2 & SECONDARY_EXEC_ENABLE_VPID)
    vmx_invvpid(L2_VPID);
}

static const char *yes_no(bool value) {
  return value ? "yes" : "no";
}

void world_print(void) {
  print("pages: MSR bitmap %lx, APIC-access %lx, virtual-APIC %lx, posted-interrupt descriptor %lx, enlightened VMCS %lx, "
        "window %lx\n",
        (u64)world_page(PAGE_MSR_BITMAP), (u64)world_page(PAGE_APIC_ACCESS), (u64)world_page(PAGE_VIRTUAL_APIC),
        (u64)world_pi_descriptor(), (u64)world_page(PAGE_ENLIGHTENED), (u64)world_page(PAGE_WINDOW));
  print("controls: pin %x, primary %x, secondary %x, exit %x, entry %x\n", offered.pin, offered.proc, offered.proc2,
        offered.exit, offered.entry);
  print("in use: MSR bitmap yes, APIC accesses yes, TPR shadow yes, APIC registers %s, virtual interrupts %s, "
        "posted interrupts %s, VPID %s, enlightened VMCS %s\n",
        yes_no(has_register_virtualization), yes_no(has_virtual_interrupts), yes_no(has_posted_interrupts),
        yes_no(offered.proc2 & SECONDARY_EXEC_ENABLE_VPID), yes_no(!enlightened_missing));
}

static struct vmx_controls controls_of(enum profile profile) {
  struct vmx_controls controls = offered;
  if (profile == PROFILE_FULL)
    return controls;
  controls.pin &= ~(u32)PIN_BASED_POSTED_INTR;
  controls.proc2 &= ~(u32)(SECONDARY_EXEC_APIC_REGISTER_VIRT | SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY);
  if (profile == PROFILE_APIC_ACCESS)
    controls.proc &= ~(u32)CPU_BASED_TPR_SHADOW;
  if (profile == PROFILE_ENLIGHTENED) {
    controls.pin &= ~(u32)PIN_BASED_EXT_INTR_MASK;
    controls.proc2 &= ~(u32)SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES;
  }
  return controls;
}

void world_write_vmcs(enum profile profile, void (*entry)(void)) {
  struct vmx_controls controls = controls_of(profile);
  struct l2_start start = {
      .cr3 = (u64)l2_tables.root,
      .entry = entry,
      .stack_end = l2_stack + sizeof l2_stack,
      .idt = l2_idt,
      .idt_gates = COUNT_OF(l2_idt),
  };
  vmx_write_controls(&controls);
  vmx_write_host_state(&controls);
  write_addresses(&controls);
  write_neutral_fields(&controls);
  vmx_write_l2_state(&controls, &start);
  page_tables_set(start.cr3);
}

void l2_begin(enum profile profile, void (*entry)(void)) {
  memset(&l2, 0, sizeof l2);
  msr_bitmap_intercept_all(world_page(PAGE_MSR_BITMAP));
  memset(world_page(PAGE_VIRTUAL_APIC), 0, PAGE_SIZE);
  pi_descriptor_clear(world_pi_descriptor(), NOTIFICATION_VECTOR, has_posted_interrupts ? x2apic_id() : 0);
  world_write_vmcs(profile, entry);
}

void world_use_enlightened(u8 *page, bool resume) {
  is_enlightened = page != 0;
  launched[true] = resume;
  vmx_use_enlightened(page);
  if (!page)
    vmx_switch(vmcs);
}

void world_make_stale(u32 page) {
  static const u32 fields[] = {VMCS_MSR_BITMAP, VMCS_APIC_ACCESS_ADDR, VMCS_VIRTUAL_APIC_PAGE_ADDR,
                               VMCS_POSTED_INTR_DESC_ADDR};
  if (page >= COUNT_OF(fields) || (page == PAGE_PI_DESCRIPTOR && !has_posted_interrupts))
    return;
  memcpy(world_page(PAGE_STALE), world_page(page), PAGE_SIZE);
  u64 offset = page == PAGE_PI_DESCRIPTOR ? PI_DESCRIPTOR_OFFSET : 0;
  vmx_write(fields[page], (u64)world_page(PAGE_STALE) + offset);
}

void l2_share_page_tables(void) {
  page_tables_set(read_cr3());
}

u32 l2_enter(void) {
  bool resume = launched[is_enlightened];
  u32 outcome = is_enlightened ? vmx_run_enlightened(&l2, resume) : vmx_run(&l2, resume);
  /* A failed entry leaves the launch state as it was. */
  if (!outcome && !(vmx_read(VMCS_VM_EXIT_REASON) & EXIT_REASON_FAILED_VMENTRY))
    launched[is_enlightened] = true;
  return outcome;
}

void l2_run(void) {
  u32 outcome = l2_enter();
  if (outcome)
    vmx_failed(launched[is_enlightened] ? "VMRESUME" : "VMLAUNCH", outcome);
  l2_exit = (struct l2_exit){
      .reason = (u32)vmx_read(VMCS_VM_EXIT_REASON),
      .length = (u32)vmx_read(VMCS_VM_EXIT_INSTRUCTION_LEN),
      .interruption = (u32)vmx_read(VMCS_VM_EXIT_INTR_INFO),
      .qualification = vmx_read(VMCS_EXIT_QUALIFICATION),
      .rip = vmx_read(VMCS_GUEST_RIP),
      .linear = vmx_read(VMCS_GUEST_LINEAR_ADDRESS),
      .physical = vmx_read(VMCS_GUEST_PHYSICAL_ADDRESS),
  };
}

void l2_skip(void) {
  vmx_write(VMCS_GUEST_RIP, l2_exit.rip + l2_exit.length);
}

void l2_skip_access(void) {
  vmx_write(VMCS_GUEST_RIP, l2.r11);
}
