#include "arguments.h"

#include "print.h"

static const char *line = "";

void arguments_set(const char *command_line) {
  line = command_line ? command_line : "";
}

static bool is_end(char c) {
  return c == ' ' || c == 0;
}

static const char *word_after(const char *word) {
  while (!is_end(*word))
    word++;
  while (*word == ' ')
    word++;
  return word;
}

static const char *word_first(void) {
  const char *word = line;
  while (*word == ' ')
    word++;
  return word;
}

/* The text behind `key=` when the word is that key, else a null pointer. */
static const char *value_of(const char *word, const char *key) {
  for (; *key; key++, word++)
    if (*word != *key)
      return 0;
  return *word == '=' ? word + 1 : 0;
}

static const char *find(const char *key) {
  for (const char *word = word_first(); *word; word = word_after(word)) {
    const char *value = value_of(word, key);
    if (value)
      return value;
  }
  return 0;
}

static u32 digit_of(char c) {
  if (c >= '0' && c <= '9')
    return (u32)(c - '0');
  c |= 0x20;
  return c >= 'a' && c <= 'f' ? (u32)(c - 'a' + 10) : 16;
}

u64 argument_number(const char *key, u64 value_default) {
  const char *text = find(key);
  if (!text)
    return value_default;
  u32 base = 10;
  if (text[0] == '0' && (text[1] | 0x20) == 'x') {
    base = 16;
    text += 2;
  }
  u64 value = 0;
  bool valid = !is_end(*text);
  for (; valid && !is_end(*text); text++) {
    u32 digit = digit_of(*text);
    valid = digit < base && value <= (~0ul - digit) / base;
    value = value * base + digit;
  }
  if (!valid)
    refuse("command line: the value of %s is not a number", key);
  return value;
}

bool argument_present(const char *key) {
  return find(key) != 0;
}

bool argument_is(const char *key, const char *value) {
  const char *text = find(key);
  if (!text)
    return false;
  for (; *value; value++, text++)
    if (*text != *value)
      return false;
  return is_end(*text);
}

static bool is_allowed(const char *word, const char *const *keys) {
  for (; *keys; keys++)
    if (value_of(word, *keys))
      return true;
  return false;
}

NO_RETURN static void refuse_word(const char *word) {
  char copy[48];
  u32 length = 0;
  while (!is_end(word[length]) && length < sizeof copy - 1) {
    copy[length] = word[length];
    length++;
  }
  copy[length] = 0;
  refuse("command line: unknown parameter \"%s\"", copy);
}

void arguments_allow(const char *const *keys) {
  for (const char *word = word_first(); *word; word = word_after(word))
    if (!is_allowed(word, keys))
      refuse_word(word);
}
