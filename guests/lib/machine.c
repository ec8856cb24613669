#include "machine.h"

#define PORT_DEBUG_EXIT 0xf4
#define PORT_MARKER 0x5e0
#define PORT_REPORT 0x5e4
#define PORT_COM1_DATA 0x3f8
#define PORT_COM1_INTERRUPTS 0x3f9
#define PORT_COM1_LINE_CONTROL 0x3fb
#define PORT_COM1_LINE_STATUS 0x3fd
#define LINE_CONTROL_8_BITS 3
#define LINE_STATUS_TRANSMITTER_EMPTY 0x20

static void write_port32(u16 port, u32 value) {
  __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static void write_port8(u16 port, u8 value) {
  __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static u8 read_port8(u16 port) {
  u8 value;
  __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}

NO_RETURN void machine_exit(u32 code) {
  for (;;) {
    write_port32(PORT_DEBUG_EXIT, code);
    __asm__ volatile("cli; hlt");
  }
}

void machine_marker(u32 number) {
  write_port32(PORT_MARKER, number);
}

void machine_report(u32 index, u64 value) {
  write_port32(PORT_REPORT, index);
  write_port32(PORT_REPORT, value > 0xffffffff ? 0xffffffff : (u32)value);
}

void serial_open(void) {
  write_port8(PORT_COM1_INTERRUPTS, 0);
  write_port8(PORT_COM1_LINE_CONTROL, LINE_CONTROL_8_BITS);
}

void serial_put(char byte) {
  while (!(read_port8(PORT_COM1_LINE_STATUS) & LINE_STATUS_TRANSMITTER_EMPTY))
    ;
  write_port8(PORT_COM1_DATA, (u8)byte);
}
