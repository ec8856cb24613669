#include "print.h"

#include "machine.h"

typedef __builtin_va_list arguments;

static void print_text(const char *text) {
  while (*text)
    serial_put(*text++);
}

static void print_number(u64 value, u32 base) {
  char digits[20];
  u32 count = 0;
  do {
    digits[count++] = "0123456789abcdef"[value % base];
    value /= base;
  } while (value);
  if (base == 16)
    print_text("0x");
  while (count)
    serial_put(digits[--count]);
}

static void print_arguments(const char *format, arguments list) {
  for (; *format; format++) {
    if (*format != '%') {
      serial_put(*format);
      continue;
    }
    bool wide = *++format == 'l';
    if (wide)
      format++;
    switch (*format) {
    case 's':
      print_text(__builtin_va_arg(list, const char *));
      break;
    case 'c':
      serial_put((char)__builtin_va_arg(list, int));
      break;
    case 'u':
    case 'x':
      print_number(wide ? __builtin_va_arg(list, u64) : __builtin_va_arg(list, u32), *format == 'x' ? 16 : 10);
      break;
    default:
      serial_put(*format);
    }
  }
}

void print(const char *format, ...) {
  arguments list;
  __builtin_va_start(list, format);
  print_arguments(format, list);
  __builtin_va_end(list);
}

NO_RETURN void refuse(const char *format, ...) {
  arguments list;
  __builtin_va_start(list, format);
  print_text("REFUSED: ");
  print_arguments(format, list);
  print_text("\n");
  machine_exit(EXIT_REFUSED);
}
