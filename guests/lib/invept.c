#include "cpu.h"
#include "vmx.h"

#define INVEPT_SINGLE_CONTEXT 1ul
#define INVEPT_ALL_CONTEXTS 2ul

void vmx_invept(u64 ept_pointer) {
  u64 capabilities = read_msr(MSR_IA32_VMX_EPT_VPID_CAP);
  if (!(capabilities & EPT_CAP_INVEPT))
    return;
  struct {
    u64 ept_pointer, reserved;
  } descriptor = {ept_pointer, 0};
  u64 type = capabilities & EPT_CAP_INVEPT_SINGLE ? INVEPT_SINGLE_CONTEXT : INVEPT_ALL_CONTEXTS;
  bool invalid, valid;
  __asm__ volatile("invept %2, %3" : "=@ccc"(invalid), "=@ccz"(valid) : "m"(descriptor), "r"(type) : "memory");
  if (invalid || valid)
    vmx_failed("INVEPT", type);
}
