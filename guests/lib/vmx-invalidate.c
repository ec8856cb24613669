#include "cpu.h"
#include "vmx.h"

#define SINGLE_CONTEXT 1ul
#define ALL_CONTEXTS 2ul

struct invalidate_descriptor {
  u64 context, address;
};

void vmx_invept(u64 ept_pointer) {
  u64 capabilities = read_msr(MSR_IA32_VMX_EPT_VPID_CAP);
  if (!(capabilities & EPT_CAP_INVEPT))
    return;
  struct invalidate_descriptor descriptor = {ept_pointer, 0};
  u64 type = capabilities & EPT_CAP_INVEPT_SINGLE ? SINGLE_CONTEXT : ALL_CONTEXTS;
  bool invalid, valid;
  __asm__ volatile("invept %2, %3" : "=@ccc"(invalid), "=@ccz"(valid) : "m"(descriptor), "r"(type) : "memory");
  if (invalid || valid)
    vmx_failed("INVEPT", type);
}

void vmx_invvpid(u16 vpid) {
  u64 capabilities = read_msr(MSR_IA32_VMX_EPT_VPID_CAP);
  if (!(capabilities & VPID_CAP_INVVPID))
    return;
  struct invalidate_descriptor descriptor = {vpid, 0};
  u64 type = capabilities & VPID_CAP_INVVPID_SINGLE ? SINGLE_CONTEXT : ALL_CONTEXTS;
  bool invalid, valid;
  __asm__ volatile("invvpid %2, %3" : "=@ccc"(invalid), "=@ccz"(valid) : "m"(descriptor), "r"(type) : "memory");
  if (invalid || valid)
    vmx_failed("INVVPID", type);
}
