#include "enlightened-vmcs.h"

#include "memory.h"

/** Where a field is; no bytes: nowhere. */
struct field_place {
  u32 offset, bytes, clean;
};

static struct field_place place_of(u32 field) {
  switch (field) {
#define CASE(encoding, offset, bytes, clean) \
  case encoding:                             \
    return (struct field_place){offset, bytes, clean};
    EVMCS_FIELD_LIST(CASE)
  default:
    return (struct field_place){0, 0, 0};
  }
}

void evmcs_prepare(u8 *page) {
  memset(page, 0, PAGE_SIZE);
  *evmcs_u32(page, EVMCS_REVISION_ID) = EVMCS_VERSION;
}

bool evmcs_read(const u8 *page, u32 field, u64 *value) {
  struct field_place place = place_of(field);
  if (!place.bytes)
    return false;
  *value = 0;
  memcpy(value, page + place.offset, place.bytes);
  return true;
}

bool evmcs_write(u8 *page, u32 field, u64 value) {
  struct field_place place = place_of(field);
  if (!place.bytes)
    return false;
  memcpy(page + place.offset, &value, place.bytes);
  *evmcs_u32(page, EVMCS_HV_CLEAN_FIELDS) &= ~place.clean;
  return true;
}
