#include "cpu.h"
#include "print.h"
#include "vmx.h"

#define CPUID_1_ECX_VMX (1u << 5)
#define FEATURE_CONTROL_LOCKED 1ul
#define FEATURE_CONTROL_VMXON_OUTSIDE_SMX 4ul
#define VMX_BASIC_TRUE_CONTROLS (1ul << 55)
#define MSR_CONTROLS_SECONDARY 0x48b

static u8 vmxon_region[PAGE_SIZE] PAGE_ALIGNED;

static void feature_control_open(void) {
  u64 control = read_msr(MSR_IA32_FEATURE_CONTROL);
  if (!(control & FEATURE_CONTROL_LOCKED)) {
    control |= FEATURE_CONTROL_LOCKED | FEATURE_CONTROL_VMXON_OUTSIDE_SMX;
    write_msr(MSR_IA32_FEATURE_CONTROL, control);
  }
  if (!(control & FEATURE_CONTROL_VMXON_OUTSIDE_SMX))
    refuse("VMX is locked off: IA32_FEATURE_CONTROL is %lx", control);
}

static u64 fixed(u64 value, u32 msr_fixed0) {
  return (value | read_msr(msr_fixed0)) & read_msr(msr_fixed0 + 1);
}

static void region_prepare(void *region) {
  *(u32 *)region = (u32)read_msr(MSR_IA32_VMX_BASIC) & 0x7fffffff;
}

void vmx_enable(void) {
  if (!(read_cpuid(1, 0).ecx & CPUID_1_ECX_VMX))
    refuse("VMX is not offered: CPUID leaf 1, ECX bit 5 is 0");
  feature_control_open();
  write_cr0(fixed(read_cr0(), MSR_IA32_VMX_CR0_FIXED0));
  write_cr4(fixed(read_cr4() | CR4_VMXE, MSR_IA32_VMX_CR4_FIXED0));
  region_prepare(vmxon_region);
  u64 address = (u64)vmxon_region;
  bool invalid, valid;
  __asm__ volatile("vmxon %2" : "=@ccc"(invalid), "=@ccz"(valid) : "m"(address) : "memory");
  if (invalid || valid)
    refuse("VMXON failed, region at %lx", address);
}

void vmx_clear(void *region) {
  u64 address = (u64)region;
  bool invalid, valid;
  __asm__ volatile("vmclear %2" : "=@ccc"(invalid), "=@ccz"(valid) : "m"(address) : "memory");
  if (invalid || valid)
    refuse("VMCLEAR failed, region at %lx", address);
}

void vmx_switch(void *region) {
  u64 address = (u64)region;
  bool invalid, valid;
  __asm__ volatile("vmptrld %2" : "=@ccc"(invalid), "=@ccz"(valid) : "m"(address) : "memory");
  if (invalid || valid)
    refuse("VMPTRLD failed, region at %lx", address);
}

void vmx_load(void *region) {
  region_prepare(region);
  vmx_clear(region);
  vmx_switch(region);
}

struct control_bit {
  const char *group;
  u32 mask;
  const char *name;
};

#define ROW(group, mask, name) {group, mask, name},
static const struct control_bit control_bits[] = {CONTROL_BIT_LIST(ROW)};

static bool same_text(const char *one, const char *other) {
  while (*one && *one == *other)
    one++, other++;
  return *one == *other;
}

NO_RETURN static void refuse_controls(const char *group, u32 missing, u32 msr, u64 capability) {
  for (u64 i = 0; i < COUNT_OF(control_bits); i++)
    if (same_text(control_bits[i].group, group) && control_bits[i].mask & missing)
      print("missing: %s\n", control_bits[i].name);
  refuse("the %s controls lack %x; MSR %x is %lx", group, missing, msr, capability);
}

/* Low half of a capability MSR: bits that must be 1. High half: bits that may be 1. The groups are those of the table. */
static u32 negotiate(const char *group, u32 msr, u32 required, u32 wanted) {
  u64 capability = read_msr(msr);
  u32 must = (u32)capability;
  u32 may = (u32)(capability >> 32);
  if (required & ~may)
    refuse_controls(group, required & ~may, msr, capability);
  return ((required | wanted) & may) | must;
}

struct vmx_controls vmx_negotiate(const struct vmx_controls *required, const struct vmx_controls *wanted) {
  /* The TRUE MSRs stand 12 behind the old ones, in the same order. */
  u32 base = read_msr(MSR_IA32_VMX_BASIC) & VMX_BASIC_TRUE_CONTROLS ? 0x48d : 0x481;
  struct vmx_controls out = {
      .pin = negotiate("pin-based", base, required->pin, wanted->pin),
      .proc = negotiate("primary proc-based", base + 1, required->proc, wanted->proc),
      .exit = negotiate("vm-exit", base + 2, required->exit, wanted->exit),
      .entry = negotiate("vm-entry", base + 3, required->entry, wanted->entry),
  };
  if (out.proc & CPU_BASED_ACTIVATE_SECONDARY_CONTROLS)
    out.proc2 = negotiate("secondary proc-based", MSR_CONTROLS_SECONDARY, required->proc2, wanted->proc2);
  else if (required->proc2)
    refuse("secondary processor-based VM-execution controls are not offered");
  return out;
}
