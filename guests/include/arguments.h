/* The command line: blank-separated key=value pairs. */
#pragma once

#include "types.h"

void arguments_set(const char *command_line);

/** The value of a key as a number, decimal or 0x..., or the default. Refuses to go on when it is no number. */
u64 argument_number(const char *key, u64 value_default);

bool argument_present(const char *key);

/** Whether key=value stands in the command line, as text. */
bool argument_is(const char *key, const char *value);

/** Refuses to go on when the command line has a key that is not in the list; the list ends with a null pointer. */
void arguments_allow(const char *const *keys);
