#include "x2apic.h"

#include "cpu.h"

#define CPUID_1_ECX_X2APIC (1u << 21)
#define APIC_BASE_ENABLE (1ul << 11)
#define APIC_BASE_X2APIC (1ul << 10)
#define SPURIOUS_ENABLE 0x100
#define SPURIOUS_VECTOR 0xff

bool x2apic_enable(void) {
  if (!(read_cpuid(1, 0).ecx & CPUID_1_ECX_X2APIC))
    return false;
  /* x2APIC mode is reached only from the enabled xAPIC mode. */
  u64 base = read_msr(MSR_IA32_APIC_BASE) | APIC_BASE_ENABLE;
  write_msr(MSR_IA32_APIC_BASE, base);
  write_msr(MSR_IA32_APIC_BASE, base | APIC_BASE_X2APIC);
  write_msr(MSR_IA32_X2APIC_SIVR, SPURIOUS_ENABLE | SPURIOUS_VECTOR);
  return true;
}

u32 x2apic_id(void) {
  return (u32)read_msr(MSR_IA32_X2APIC_APICID);
}

void x2apic_self_ipi(u8 vector) {
  write_msr(MSR_IA32_X2APIC_SELF_IPI, vector);
}

void x2apic_end_of_interrupt(void) {
  write_msr(MSR_IA32_X2APIC_EOI, 0);
}
