/*
 * Runs each instruction form on the processor of this computer, with inputs from a fixed sequence, and prints one line
 * a form: name, bytes, rule of defined flags, hash of all results. With an argument it prints every case of the forms
 * whose name contains it. The forms come from generate.mjs through forms.inc; the test repeats the same inputs.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { CASES = 64, BUFFER = 512, DI = 256, SI = 128 };
enum { CF = 1, PF = 4, AF = 0x10, ZF = 0x40, SF = 0x80, OF = 0x800, ALL = 0x8d5 };

struct state { uint64_t rax, rbx, rcx, rdx, r8, r9, rsi, rdi, flags; };
struct form { const char *name, *rule; const uint8_t *start, *end; };

#include "forms.inc"

static uint8_t buffer[BUFFER] __attribute__((aligned(64)));
static uint32_t seed;
static sigjmp_buf divide_error;

static uint32_t next(void) { seed ^= seed << 13; seed ^= seed >> 17; seed ^= seed << 5; return seed; }

/* One value in two is small or next to a power of two, where carries and signs change. */
static uint64_t value(void) {
  uint32_t kind = next() & 7;
  uint64_t low = next(), high = next();
  uint64_t any = high << 32 | low;
  if (kind == 0) return low & 3;
  if (kind == 1) return -(low & 3);
  if (kind == 2) return ((uint64_t)1 << (low & 63)) - (high & 1);
  if (kind == 3) return (int64_t)(int32_t)low;
  return any;
}

static void on_divide_error(int number) { (void)number; siglongjmp(divide_error, 1); }

__attribute__((naked)) static void execute(struct state *s, const uint8_t *code) {
  (void)s; (void)code;
  __asm__ volatile(
    "push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n"
    "mov %rdi, %r14\n mov %rsi, %r15\n"
    "mov 0(%r14), %rax\n mov 8(%r14), %rbx\n mov 16(%r14), %rcx\n mov 24(%r14), %rdx\n"
    "mov 32(%r14), %r8\n mov 40(%r14), %r9\n mov 48(%r14), %rsi\n mov 56(%r14), %rdi\n"
    "pushq 64(%r14)\n popfq\n call *%r15\n pushfq\n popq 64(%r14)\n cld\n"
    "mov %rax, 0(%r14)\n mov %rbx, 8(%r14)\n mov %rcx, 16(%r14)\n mov %rdx, 24(%r14)\n"
    "mov %r8, 32(%r14)\n mov %r9, 40(%r14)\n mov %rsi, 48(%r14)\n mov %rdi, 56(%r14)\n"
    "pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n ret\n");
}

/* Flags that the manual defines for this rule; `count` is the shift count after masking. */
static uint32_t defined(const char *rule, int count) {
  if (!strcmp(rule, "all")) return ALL;
  if (!strcmp(rule, "logic")) return ALL & ~AF;
  if (!strcmp(rule, "multiply")) return CF | OF;
  if (!strcmp(rule, "divide")) return 0;
  if (!strcmp(rule, "bit")) return CF | ZF;
  if (!strcmp(rule, "scan")) return ZF;
  if (count == 0) return ALL;
  if (!strncmp(rule, "rotate", 6)) return count == 1 ? ALL : ALL & ~OF;
  return (count == 1 ? ALL : ALL & ~OF) & ~AF;
}

/* Width in bits and place of the count stand in the rule of shifts: "shift8:cl", "rotate64:3". */
static int count_of(const char *rule, const struct state *s, int *width) {
  const char *colon = strchr(rule, ':');
  int count = 0;
  *width = 64;
  if (!colon) return 0;
  sscanf(strpbrk(rule, "0123456789"), "%d", width);
  if (colon[1] == 'c') count = s->rcx & 0xff; else sscanf(colon + 1, "%d", &count);
  return count & (*width == 64 ? 63 : 31);
}

static uint32_t hash;
static void mix(uint64_t v) { for (int n = 0; n < 8; n++) hash = (hash ^ (uint8_t)(v >> 8 * n)) * 16777619u; }

int main(int argc, char **argv) {
  struct sigaction action = { .sa_handler = on_divide_error };
  sigaction(SIGFPE, &action, 0);
  for (unsigned f = 0; f < sizeof forms / sizeof forms[0]; f++) {
    const struct form *form = &forms[f];
    int detail = argc > 1 && strstr(form->name, argv[1]) != 0;
    if (argc > 1 && !detail) continue;
    seed = 2463534242u;
    hash = 2166136261u;
    for (int c = 0; c < CASES; c++) {
      struct state s, in;
      s.rax = value(); s.rbx = value(); s.rcx = value(); s.rdx = value(); s.r8 = value(); s.r9 = value();
      s.flags = (next() & ALL) | 0x202;
      for (int n = 0; n < BUFFER; n += 8) { uint64_t v = value(); memcpy(buffer + n, &v, 8); }
      s.rsi = (uintptr_t)(buffer + SI); s.rdi = (uintptr_t)(buffer + DI);
      if (!strcmp(form->rule, "bit") && strchr(form->name, '(')) s.rbx = (int64_t)(int16_t)(s.rbx << 6) >> 6;
      if (strstr(form->name, "rep")) s.rcx &= 15;
      if (!strcmp(form->rule, "divide") && (c & 3) != 0) s.rdx = (c & 1) ? s.rdx & 3 : (int64_t)s.rax >> 63;
      in = s;
      int width, count = count_of(form->rule, &s, &width);
      uint32_t mask = defined(form->rule, count);
      if (width <= 16 && count >= width && !strncmp(form->rule, "shift", 5)) mask &= ~CF;
      int failed = sigsetjmp(divide_error, 1);
      if (!failed) execute(&s, form->start);
      else { memset(&s, 0, sizeof s); s.flags = 0; }
      int skip = !strncmp(form->rule, "shift16d", 8) && count > 16;
      if (skip) continue;
      mix(s.rax); mix(s.rbx); mix(s.rcx); mix(s.rdx); mix(s.r8); mix(s.r9);
      mix(failed ? 0 : s.rsi - (uintptr_t)buffer); mix(failed ? 0 : s.rdi - (uintptr_t)buffer);
      mix(failed ? 0 : s.flags & mask);
      for (int n = 0; n < BUFFER; n += 8) { uint64_t v; memcpy(&v, buffer + n, 8); mix(v); }
      if (detail) printf("%d %d %016lx %016lx %016lx %016lx %016lx %016lx %lx > %016lx %016lx %016lx %016lx %016lx %016lx %lx %08x\n", c, failed,
        in.rax, in.rbx, in.rcx, in.rdx, in.r8, in.r9, in.flags & ALL, s.rax, s.rbx, s.rcx, s.rdx, s.r8, s.r9, s.flags & mask, hash);
    }
    printf("%s\t", form->name);
    for (const uint8_t *p = form->start; p < form->end; p++) printf("%02x", *p);
    printf("\t%s\t%08x\n", form->rule, hash);
  }
  return 0;
}
