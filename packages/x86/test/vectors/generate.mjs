// Makes integer.tsv: results of integer instructions on the processor of the computer that runs this script.
// Needs gcc on x86-64 Linux. The tests need only integer.tsv. `node generate.mjs --detail NAME` prints single cases.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const widths = [8, 16, 32, 64];
const suffix = { 8: 'b', 16: 'w', 32: 'l', 64: 'q' };
const rax = { 8: '%al', 16: '%ax', 32: '%eax', 64: '%rax' };
const rbx = { 8: '%bl', 16: '%bx', 32: '%ebx', 64: '%rbx' };
const r8 = { 8: '%r8b', 16: '%r8w', 32: '%r8d', 64: '%r8' };
const immediate = { 8: '$0x9c', 16: '$0x8123', 32: '$0x80012345', 64: '$-0x7ffedcbb' };

const forms = [];
const add = (text, rule) => forms.push({ text, rule });

for (const name of ['add', 'or', 'adc', 'sbb', 'and', 'sub', 'xor', 'cmp', 'test']) {
  const rule = ['or', 'and', 'xor', 'test'].includes(name) ? 'logic' : 'all';
  for (const w of widths) {
    add(`${name}${suffix[w]} ${rbx[w]}, ${rax[w]}`, rule);
    add(`${name}${suffix[w]} ${r8[w]}, ${rbx[w]}`, rule);
    add(`${name}${suffix[w]} ${rbx[w]}, (%rdi)`, rule);
    if (name !== 'test') add(`${name}${suffix[w]} (%rdi), ${rbx[w]}`, rule);
    add(`${name}${suffix[w]} ${immediate[w]}, ${rax[w]}`, rule);
    add(`${name}${suffix[w]} ${immediate[w]}, ${rbx[w]}`, rule);
    add(`${name}${suffix[w]} ${immediate[w]}, 3(%rdi)`, rule);
    if (w > 8 && name !== 'test') add(`${name}${suffix[w]} $-5, ${r8[w]}`, rule);
  }
  add(`${name}b %bh, %ah`, rule);
  add(`${name}b %ch, (%rdi)`, rule);
}
for (const name of ['inc', 'dec', 'neg', 'not']) {
  for (const w of widths) {
    add(`${name}${suffix[w]} ${rax[w]}`, 'all');
    add(`${name}${suffix[w]} ${r8[w]}`, 'all');
    add(`${name}${suffix[w]} (%rdi)`, 'all');
  }
  add(`${name}b %dh`, 'all');
}
for (const name of ['shl', 'shr', 'sar', 'rol', 'ror', 'rcl', 'rcr']) {
  const kind = name.startsWith('r') ? 'rotate' : 'shift';
  for (const w of widths) {
    for (const count of [1, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63]) {
      add(`${name}${suffix[w]} $${count}, ${rbx[w]}`, `${kind}${w}:${count}`);
    }
    add(`${name}${suffix[w]} %cl, ${rax[w]}`, `${kind}${w}:cl`);
    add(`${name}${suffix[w]} %cl, (%rdi)`, `${kind}${w}:cl`);
    add(`${name}${suffix[w]} $5, 1(%rdi)`, `${kind}${w}:5`);
  }
}
for (const name of ['shld', 'shrd']) {
  for (const w of [16, 32, 64]) {
    for (const count of [1, 5, 13, 16, 31, 40]) add(`${name} $${count}, ${rbx[w]}, ${rax[w]}`, `shift${w}d:${count}`);
    add(`${name} %cl, ${rbx[w]}, ${r8[w]}`, `shift${w}d:cl`);
    add(`${name}${suffix[w]} %cl, ${rbx[w]}, (%rdi)`, `shift${w}d:cl`);
  }
}
for (const w of widths) {
  add(`mul${suffix[w]} ${rbx[w]}`, 'multiply');
  add(`imul${suffix[w]} ${rbx[w]}`, 'multiply');
  add(`mul${suffix[w]} (%rdi)`, 'multiply');
  add(`imul${suffix[w]} 2(%rdi)`, 'multiply');
  for (const name of ['div', 'idiv']) {
    add(`${name}${suffix[w]} ${rbx[w]}`, 'divide');
    add(`${name}${suffix[w]} ${r8[w]}`, 'divide');
    add(`${name}${suffix[w]} (%rdi)`, 'divide');
  }
}
for (const w of [16, 32, 64]) {
  add(`imul ${rbx[w]}, ${rax[w]}`, 'multiply');
  add(`imul (%rdi), ${r8[w]}`, 'multiply');
  add(`imul $-7, ${rbx[w]}, ${rax[w]}`, 'multiply');
  add(`imul $0x1234, ${rbx[w]}, ${rax[w]}`, 'multiply');
  for (const name of ['bt', 'bts', 'btr', 'btc']) {
    add(`${name} ${rbx[w]}, ${rax[w]}`, 'bit');
    add(`${name}${suffix[w]} ${rbx[w]}, (%rdi)`, 'bit');
    add(`${name}${suffix[w]} $13, ${rax[w]}`, 'bit');
    add(`${name}${suffix[w]} $47, (%rdi)`, 'bit');
  }
  add(`bsf ${rbx[w]}, ${rax[w]}`, 'scan');
  add(`bsr ${rbx[w]}, ${rax[w]}`, 'scan');
  add(`bsf (%rdi), ${r8[w]}`, 'scan');
  add(`bsr (%rdi), ${r8[w]}`, 'scan');
  add(`popcnt ${rbx[w]}, ${rax[w]}`, 'all');
  add(`movzb${suffix[w]} ${w === 64 ? '%bl' : '%bh'}, ${rax[w]}`, 'all');
  add(`movsb${suffix[w]} %bl, ${rax[w]}`, 'all');
  add(`movsb${suffix[w]} (%rdi), ${r8[w]}`, 'all');
  add(`lea 0x77(%rbx,%rax,4), ${rax[w]}`, 'all');
  add(`xchg ${rbx[w]}, ${rax[w]}`, 'all');
}
for (const w of [32, 64]) {
  add(`bswap ${rax[w]}`, 'all');
  add(`movzw${suffix[w]} %bx, ${rax[w]}`, 'all');
  add(`movsw${suffix[w]} (%rdi), ${rax[w]}`, 'all');
  add(`lea -0x7fffffff(%ebx,%ecx,8), ${rax[w]}`, 'all');
}
add('movslq %ebx, %rax', 'all');
for (const w of widths) {
  add(`mov ${rbx[w]}, ${rax[w]}`, 'all');
  add(`mov ${immediate[w]}, ${r8[w]}`, 'all');
  add(`mov ${rbx[w]}, 5(%rdi)`, 'all');
  add(`mov 5(%rdi), ${rax[w]}`, 'all');
  add(`mov${suffix[w]} ${immediate[w]}, (%rdi)`, 'all');
  add(`xchg ${rbx[w]}, (%rdi)`, 'all');
  add(`lock xadd ${rbx[w]}, (%rdi)`, 'all');
  add(`xadd ${rbx[w]}, ${rax[w]}`, 'all');
  add(`cmpxchg ${rbx[w]}, ${r8[w]}`, 'all');
  add(`lock cmpxchg ${rbx[w]}, (%rdi)`, 'all');
  add(`mov ${rax[w]}, ${r8[w]}; cmpxchg ${rbx[w]}, ${r8[w]}`, 'all');
}
add('movabs $0x123456789abcdef0, %rax', 'all');
add('cmpxchg8b (%rdi)', 'all');
add('mov (%rdi), %eax; mov 4(%rdi), %edx; cmpxchg8b (%rdi)', 'all');
add('cmpxchg16b (%rdi)', 'all');
add('mov (%rdi), %rax; mov 8(%rdi), %rdx; lock cmpxchg16b (%rdi)', 'all');
for (const cc of ['o', 'no', 'b', 'ae', 'e', 'ne', 'be', 'a', 's', 'ns', 'p', 'np', 'l', 'ge', 'le', 'g']) {
  add(`set${cc} %al`, 'all');
  add(`set${cc} (%rdi)`, 'all');
  add(`cmov${cc} %ebx, %eax`, 'all');
  add(`cmov${cc} (%rdi), %r8`, 'all');
  add(`cmov${cc} %bx, %ax`, 'all');
  add(`j${cc} 1f; inc %rax; 1:`, 'all');
}
for (const name of ['cbtw', 'cwtl', 'cltq', 'cwtd', 'cltd', 'cqto', 'lahf', 'sahf', 'clc', 'stc', 'cmc', 'nop'])
  add(name, 'all');
for (const w of widths) {
  for (const name of ['movs', 'cmps', 'stos', 'lods', 'scas']) {
    add(`${name}${suffix[w]}`, 'all');
    add(`std; ${name}${suffix[w]}; cld`, 'all');
    for (const prefix of name === 'cmps' || name === 'scas' ? ['repe', 'repne'] : ['rep']) {
      add(`${prefix} ${name}${suffix[w]}`, 'all');
      add(`std; ${prefix} ${name}${suffix[w]}; cld`, 'all');
    }
  }
}
add('push %rbx; pop %rax', 'all');
add('push %bx; pop %ax', 'all');
add('pushq (%rdi); popq 8(%rdi)', 'all');
add('pushq $-3; pop %rax', 'all');
add('pushfq; pop %r9; and $0x8d5, %r9; push %r9; popfq', 'all');
add('enter $32, $0; mov %rbp, %r8; sub %rsp, %r8; leave', 'all');
add('call 1f; 1: pop %rax; sub %rax, %rax', 'logic');
add('mov $5, %ecx; 1: add %rbx, %rax; loop 1b', 'all');
add('and $3, %ecx; inc %ecx; 1: add %rbx, %rax; loope 1b', 'all');
add('and $3, %ecx; jrcxz 1f; inc %rax; 1:', 'logic');
add('mov %rdi, %rbx; movzbl %al, %eax; xlatb; sub %rbx, %rbx', 'logic');

const directory = mkdtempSync(join(tmpdir(), 'x86-vectors-'));
const assembly = forms.map(({ text }, n) => `start${n}: ${text}\nend${n}: ret`).join('\n');
writeFileSync(
  join(directory, 'forms.s'),
  `.text\n${forms.map((_, n) => `.globl start${n}, end${n}`).join('\n')}\n${assembly}\n`,
);
writeFileSync(
  join(directory, 'forms.inc'),
  `${forms.map((_, n) => `extern const uint8_t start${n}[], end${n}[];`).join('\n')}
static const struct form forms[] = {
${forms.map(({ text, rule }, n) => `  {"${text}", "${rule}", start${n}, end${n}},`).join('\n')}
};
`,
);
const program = join(directory, 'native');
execFileSync('gcc', [
  '-O1',
  '-w',
  '-no-pie',
  '-I',
  directory,
  join(here, 'native.c'),
  join(directory, 'forms.s'),
  '-o',
  program,
]);
const detail = process.argv.indexOf('--detail');
const output = execFileSync(program, detail < 0 ? [] : [process.argv[detail + 1]], { maxBuffer: 2 ** 28 }).toString();
if (detail < 0) writeFileSync(join(here, 'integer.tsv'), output);
else process.stdout.write(output);
