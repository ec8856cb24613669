// Writes include/vmx-tables.h from the reference tables. The header is committed, because the tables are not part of
// the repository; a test compares it with @nvmx/vmx-fields.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const header = `/* Written by \`node build.mjs --headers\` from the reference tables: do not edit. */
#pragma once
`;

/** @param {string} room guests/ @param {string} [tables] the folder of the *.tsv files */
export function writeHeaders(room, tables = join(room, '../../shared/reference/tables')) {
  const rows = (name) => parse(readFileSync(join(tables, `${name}.tsv`), 'utf8'));
  const text = [header, fields(rows), controls(rows), reasons(rows), errors(rows), pages(rows)].join('\n');
  writeFileSync(join(room, 'include/vmx-tables.h'), text);
}

function parse(text) {
  const [head, ...lines] = text
    .trimEnd()
    .split('\n')
    .map((line) => line.split('\t'));
  return lines.map((cells) => Object.fromEntries(head.map((name, column) => [name, cells[column]])));
}

const define = (name, value) => `#define ${name} ${value}\n`;

function fields(rows) {
  const body = rows('vmcs_encodings')
    .filter(({ name }) => !name.endsWith('_HIGH'))
    .map(({ name, encoding }) => define(`VMCS_${name}`, encoding));
  return `/* VMCS field encodings. */\n${body.join('')}`;
}

function controls(rows) {
  const body = rows('vmx_control_bits')
    .filter(({ bit }) => bit !== '-')
    .map(({ name, mask }) => define(name, mask));
  return `/* Control bits. */\n${body.join('')}`;
}

/** C and assembly read the numbers; C also the names, through a list that applies a macro to each row. */
function numbered(title, listName, list) {
  const defines = list.map(({ name, number }) => define(name, number)).join('');
  const items = list.map(({ number, label }) => `  X(${number}, "${label}")`).join(' \\\n');
  return `/* ${title}. */\n${defines}#define ${listName}(X) \\\n${items}\n`;
}

function reasons(rows) {
  const list = rows('vmx_exit_reasons').filter(({ number }) => /^\d+$/.test(number));
  const named = list.map(({ number, name, trace_symbol }) => ({ number, name, label: trace_symbol }));
  return numbered('Exit reasons', 'EXIT_REASON_LIST', named) + define('EXIT_REASON_FAILED_VMENTRY', '0x80000000');
}

function errors(rows) {
  const list = rows('vm_instruction_errors').map(({ number, name }) => ({ number, name, label: name }));
  return numbered('VM-instruction errors', 'VM_INSTRUCTION_ERROR_LIST', list);
}

function pages(rows) {
  const apic = rows('virtual_apic_page').map(({ name, offset }) => define(`APIC_${name}`, offset));
  const bitmap = rows('msr_bitmap')
    .filter(({ byte_offset }) => byte_offset !== '-')
    .map(({ covers, byte_offset }) => define(`MSR_BITMAP_${covers.toUpperCase().replace(' ', '_')}`, byte_offset));
  const descriptor = rows('pi_desc')
    .filter(({ field }) => ['PIR', 'ON', 'NV', 'NDST'].includes(field))
    .map(({ field, byte_offset }) => define(`PI_DESC_${field}`, byte_offset));
  return `/* Offsets in the virtual-APIC page, the MSR bitmap and the posted-interrupt descriptor. */
${apic.join('')}${bitmap.join('')}${descriptor.join('')}`;
}
