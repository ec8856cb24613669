#include "enlightened-vmcs.h"
#include "machine.h"
#include "print.h"
#include "vmx.h"

struct numbered_name {
  u32 number;
  const char *name;
};

#define ROW(number, name) {number, name},
static const struct numbered_name exit_reasons[] = {EXIT_REASON_LIST(ROW)};
static const struct numbered_name instruction_errors[] = {VM_INSTRUCTION_ERROR_LIST(ROW)};

static const char *name_in(const struct numbered_name *rows, u64 count, u32 number) {
  for (u64 i = 0; i < count; i++)
    if (rows[i].number == number)
      return rows[i].name;
  return "unknown";
}

const char *exit_reason_name(u32 reason) {
  return name_in(exit_reasons, COUNT_OF(exit_reasons), reason & 0xffff);
}

static u8 *enlightened;

void vmx_use_enlightened(u8 *page) {
  enlightened = page;
}

static bool try_read(u32 field, u64 *value) {
  bool invalid, valid;
  if (enlightened)
    return evmcs_read(enlightened, field, value);
  __asm__ volatile("vmread %3, %2" : "=@ccc"(invalid), "=@ccz"(valid), "=r"(*value) : "r"((u64)field));
  return !invalid && !valid;
}

NO_RETURN void vmx_failed(const char *instruction, u64 operand) {
  u64 error = 0;
  if (try_read(VMCS_VM_INSTRUCTION_ERROR, &error))
    print("FAIL: %s (operand %lx): VM-instruction error %lu, %s\n", instruction, operand, error,
          name_in(instruction_errors, COUNT_OF(instruction_errors), (u32)error));
  else
    print("FAIL: %s (operand %lx): VMfailInvalid, there is no current VMCS\n", instruction, operand);
  machine_exit(EXIT_FAILED);
}

u64 vmx_read(u32 field) {
  u64 value = 0;
  if (!try_read(field, &value))
    vmx_failed("VMREAD", field);
  return value;
}

static bool try_write(u32 field, u64 value) {
  bool invalid, valid;
  if (enlightened)
    return evmcs_write(enlightened, field, value);
  __asm__ volatile("vmwrite %3, %2" : "=@ccc"(invalid), "=@ccz"(valid) : "r"((u64)field), "r"(value));
  return !invalid && !valid;
}

void vmx_write(u32 field, u64 value) {
  if (!try_write(field, value))
    vmx_failed("VMWRITE", field);
}
