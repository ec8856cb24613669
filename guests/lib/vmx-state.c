#include "cpu.h"
#include "vmx.h"

/* Access rights in the format of the VMCS. */
#define RIGHTS_CODE_64 0xa09b
#define RIGHTS_DATA 0xc093
#define RIGHTS_TSS_BUSY 0x8b
#define RIGHTS_UNUSABLE 0x10000
#define LIMIT_FLAT 0xffffffff
#define LIMIT_TSS 0x67
#define DR7_RESET 0x400

void vmx_write_controls(const struct vmx_controls *controls) {
  vmx_write(VMCS_PIN_BASED_VM_EXEC_CONTROL, controls->pin);
  vmx_write(VMCS_CPU_BASED_VM_EXEC_CONTROL, controls->proc);
  vmx_write(VMCS_SECONDARY_VM_EXEC_CONTROL, controls->proc2);
  vmx_write(VMCS_VM_EXIT_CONTROLS, controls->exit);
  vmx_write(VMCS_VM_ENTRY_CONTROLS, controls->entry);
}

static void write_host_segments(void) {
  vmx_write(VMCS_HOST_CS_SELECTOR, SELECTOR_CODE);
  vmx_write(VMCS_HOST_SS_SELECTOR, SELECTOR_DATA);
  vmx_write(VMCS_HOST_DS_SELECTOR, SELECTOR_DATA);
  vmx_write(VMCS_HOST_ES_SELECTOR, SELECTOR_DATA);
  vmx_write(VMCS_HOST_FS_SELECTOR, SELECTOR_DATA);
  vmx_write(VMCS_HOST_GS_SELECTOR, SELECTOR_DATA);
  vmx_write(VMCS_HOST_TR_SELECTOR, SELECTOR_TSS);
  vmx_write(VMCS_HOST_FS_BASE, read_msr(MSR_IA32_FS_BASE));
  vmx_write(VMCS_HOST_GS_BASE, read_msr(MSR_IA32_GS_BASE));
  vmx_write(VMCS_HOST_TR_BASE, cpu_tss_base());
  vmx_write(VMCS_HOST_GDTR_BASE, read_gdtr().base);
  vmx_write(VMCS_HOST_IDTR_BASE, read_idtr().base);
}

void vmx_write_host_state(const struct vmx_controls *controls) {
  vmx_write(VMCS_HOST_CR0, read_cr0());
  vmx_write(VMCS_HOST_CR3, read_cr3());
  vmx_write(VMCS_HOST_CR4, read_cr4());
  write_host_segments();
  vmx_write(VMCS_HOST_IA32_SYSENTER_CS, read_msr(MSR_IA32_SYSENTER_CS));
  vmx_write(VMCS_HOST_IA32_SYSENTER_ESP, read_msr(MSR_IA32_SYSENTER_ESP));
  vmx_write(VMCS_HOST_IA32_SYSENTER_EIP, read_msr(MSR_IA32_SYSENTER_EIP));
  if (controls->exit & VM_EXIT_LOAD_IA32_EFER)
    vmx_write(VMCS_HOST_IA32_EFER, read_msr(MSR_IA32_EFER));
  if (controls->exit & VM_EXIT_LOAD_IA32_PAT)
    vmx_write(VMCS_HOST_IA32_PAT, read_msr(MSR_IA32_PAT));
}

struct segment_fields {
  u32 selector, base, limit, rights;
};

#define FIELDS_OF(name) \
  { VMCS_GUEST_##name##_SELECTOR, VMCS_GUEST_##name##_BASE, VMCS_GUEST_##name##_LIMIT, VMCS_GUEST_##name##_AR_BYTES }

static const struct segment_fields code_segment = FIELDS_OF(CS);
static const struct segment_fields data_segments[] = {FIELDS_OF(SS), FIELDS_OF(DS), FIELDS_OF(ES), FIELDS_OF(FS),
                                                      FIELDS_OF(GS)};
static const struct segment_fields task_segment = FIELDS_OF(TR);
static const struct segment_fields local_table = FIELDS_OF(LDTR);

static void write_segment(const struct segment_fields *fields, u16 selector, u64 base, u32 limit, u32 rights) {
  vmx_write(fields->selector, selector);
  vmx_write(fields->base, base);
  vmx_write(fields->limit, limit);
  vmx_write(fields->rights, rights);
}

static void write_l2_segments(const struct l2_start *start) {
  write_segment(&code_segment, SELECTOR_CODE, 0, LIMIT_FLAT, RIGHTS_CODE_64);
  for (u64 i = 0; i < COUNT_OF(data_segments); i++)
    write_segment(&data_segments[i], SELECTOR_DATA, 0, LIMIT_FLAT, RIGHTS_DATA);
  write_segment(&task_segment, SELECTOR_TSS, cpu_tss_base(), LIMIT_TSS, RIGHTS_TSS_BUSY);
  write_segment(&local_table, 0, 0, 0, RIGHTS_UNUSABLE);
  struct descriptor_table gdtr = read_gdtr();
  vmx_write(VMCS_GUEST_GDTR_BASE, gdtr.base);
  vmx_write(VMCS_GUEST_GDTR_LIMIT, gdtr.limit);
  vmx_write(VMCS_GUEST_IDTR_BASE, (u64)start->idt);
  vmx_write(VMCS_GUEST_IDTR_LIMIT, start->idt_gates ? start->idt_gates * sizeof(struct idt_gate) - 1 : 0);
}

static void write_l2_control_registers(const struct l2_start *start) {
  vmx_write(VMCS_GUEST_CR0, read_cr0());
  vmx_write(VMCS_GUEST_CR3, start->cr3);
  vmx_write(VMCS_GUEST_CR4, read_cr4());
  vmx_write(VMCS_GUEST_DR7, DR7_RESET);
}

void vmx_write_l2_state(const struct vmx_controls *controls, const struct l2_start *start) {
  write_l2_control_registers(start);
  write_l2_segments(start);
  vmx_write(VMCS_GUEST_SYSENTER_CS, 0);
  vmx_write(VMCS_GUEST_SYSENTER_ESP, 0);
  vmx_write(VMCS_GUEST_SYSENTER_EIP, 0);
  vmx_write(VMCS_GUEST_IA32_DEBUGCTL, 0);
  if (controls->entry & VM_ENTRY_LOAD_IA32_EFER)
    vmx_write(VMCS_GUEST_IA32_EFER, read_msr(MSR_IA32_EFER));
  if (controls->entry & VM_ENTRY_LOAD_IA32_PAT)
    vmx_write(VMCS_GUEST_IA32_PAT, read_msr(MSR_IA32_PAT));
  vmx_write(VMCS_VMCS_LINK_POINTER, ~0ul);
  vmx_write(VMCS_GUEST_INTERRUPTIBILITY_INFO, 0);
  vmx_write(VMCS_GUEST_ACTIVITY_STATE, 0);
  vmx_write(VMCS_GUEST_PENDING_DBG_EXCEPTIONS, 0);
  vmx_write(VMCS_GUEST_RFLAGS, RFLAGS_FIXED);
  vmx_write(VMCS_GUEST_RIP, (u64)start->entry);
  /* A C function expects RSP as a call has left it. */
  vmx_write(VMCS_GUEST_RSP, (u64)start->stack_end - 8);
}
