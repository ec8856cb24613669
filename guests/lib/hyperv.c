#include "hyperv.h"

#include "cpu.h"

#define CPUID_1_ECX_HYPERVISOR (1u << 31)
#define LEAF_FIRST 0x40000000
#define LEAF_INTERFACE 0x40000001
#define LEAF_PRIVILEGES 0x40000003
#define LEAF_RECOMMENDATIONS 0x40000004
#define LEAF_NESTED 0x4000000a
#define INTERFACE_SIGNATURE 0x31237648 /* "Hv#1" */
#define MAY_USE_ASSIST_PAGE (1u << 4)
#define MAY_IDENTIFY_ITSELF (1u << 5)
#define RECOMMENDS_ENLIGHTENED_VMCS (1u << 14)
#define OFFERS_ENLIGHTENED_MSR_BITMAP (1u << 19)
#define VERSION 1
/* An open-source system of no known kind. */
#define GUEST_OS_ID (1ul << 63 | 0x7ful << 56 | 1)
#define ASSIST_PAGE_ENABLE 1ul

static bool offers_version(u32 nested_features) {
  u32 lowest = nested_features & 0xff;
  u32 highest = nested_features >> 8 & 0xff;
  return lowest <= VERSION && VERSION <= highest;
}

const char *hyperv_missing(void) {
  u32 privileges = MAY_USE_ASSIST_PAGE | MAY_IDENTIFY_ITSELF;
  if (!(read_cpuid(1, 0).ecx & CPUID_1_ECX_HYPERVISOR))
    return "CPUID shows no hypervisor";
  if (read_cpuid(LEAF_FIRST, 0).eax < LEAF_NESTED || read_cpuid(LEAF_INTERFACE, 0).eax != INTERFACE_SIGNATURE)
    return "the hypervisor has no Hyper-V interface with nested features";
  if ((read_cpuid(LEAF_PRIVILEGES, 0).eax & privileges) != privileges)
    return "the Hyper-V interface has no VP assist page";
  if (!(read_cpuid(LEAF_RECOMMENDATIONS, 0).eax & RECOMMENDS_ENLIGHTENED_VMCS))
    return "the Hyper-V interface does not recommend an enlightened VMCS";
  if (!offers_version(read_cpuid(LEAF_NESTED, 0).eax))
    return "the Hyper-V interface does not offer version 1 of the enlightened VMCS";
  return 0;
}

bool hyperv_has_enlightened_msr_bitmap(void) {
  return read_cpuid(LEAF_NESTED, 0).eax & OFFERS_ENLIGHTENED_MSR_BITMAP;
}

void hyperv_open(u8 *assist_page) {
  hyperv_use(assist_page, 0);
  write_msr(MSR_HV_X64_MSR_GUEST_OS_ID, GUEST_OS_ID);
  write_msr(MSR_HV_X64_MSR_VP_ASSIST_PAGE, (u64)assist_page | ASSIST_PAGE_ENABLE);
}

void hyperv_close(u8 *assist_page) {
  hyperv_use(assist_page, 0);
  write_msr(MSR_HV_X64_MSR_VP_ASSIST_PAGE, 0);
}

void hyperv_use(u8 *assist_page, const u8 *evmcs) {
  *(volatile u64 *)(assist_page + VP_ASSIST_CURRENT_NESTED_VMCS) = (u64)evmcs;
  *(volatile u8 *)(assist_page + VP_ASSIST_ENLIGHTEN_VMENTRY) = evmcs != 0;
}
