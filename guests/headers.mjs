// Writes vmx-tables.h, which C and assembly include, from the tables of @nvmx/vmx-fields: a field or a bit has its number
// in one place only.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const tables = fileURLToPath(new URL('../packages/vmx-fields/tables/', import.meta.url));

/** @param {string} folder where the header goes; the build directory, never the sources */
export function writeHeader(folder) {
  const parts = [fields(), controls(), msrs(), reasons(), errors(), pages(), enlightenedVmcs(), assistPage()];
  writeFileSync(join(folder, 'vmx-tables.h'), `#pragma once\n\n${parts.join('\n')}`);
}

function rows(name) {
  const lines = readFileSync(join(tables, `${name}.tsv`), 'utf8')
    .trimEnd()
    .split('\n');
  const [head, ...body] = lines.map((line) => line.split('\t'));
  return body.map((cells) => Object.fromEntries(head.map((column, index) => [column, cells[index]])));
}

const define = (name, value) => `#define ${name} ${value}\n`;

function fields() {
  const body = rows('vmcs_encodings')
    .filter(({ name }) => !name.endsWith('_HIGH'))
    .map(({ name, encoding }) => define(`VMCS_${name}`, encoding));
  return `/* VMCS field encodings. */\n${body.join('')}`;
}

function controls() {
  const bits = rows('vmx_control_bits').filter(({ bit }) => bit !== '-');
  const items = bits.map((row) => `  X("${row.control_field}", ${row.mask}, "${row.name}")`).join(' \\\n');
  const defines = bits.map(({ name, mask }) => define(name, mask)).join('');
  return `/* Control bits. */\n${defines}#define CONTROL_BIT_LIST(X) \\\n${items}\n`;
}

function msrs() {
  const body = rows('msrs').map(({ name, msr }) => define(`MSR_${name}`, msr));
  return `/* MSR numbers. */\n${body.join('')}`;
}

/** The numbers for C and assembly; for C also a list that applies a macro to each number and its name. */
function numbered(title, listName, list) {
  const defines = list.map(({ name, number }) => define(name, number)).join('');
  const items = list.map(({ number, label }) => `  X(${number}, "${label}")`).join(' \\\n');
  return `/* ${title}. */\n${defines}#define ${listName}(X) \\\n${items}\n`;
}

function reasons() {
  const list = rows('vmx_exit_reasons').filter(({ number }) => /^\d+$/.test(number));
  const named = list.map(({ number, name, trace_symbol }) => ({ number, name, label: trace_symbol }));
  return numbered('Exit reasons', 'EXIT_REASON_LIST', named) + define('EXIT_REASON_FAILED_VMENTRY', '0x80000000');
}

function errors() {
  const list = rows('vm_instruction_errors').map(({ number, name }) => ({ number, name, label: name }));
  return numbered('VM-instruction errors', 'VM_INSTRUCTION_ERROR_LIST', list);
}

function pages() {
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

/** Offsets in an enlightened VMCS, clean bits, and for C a list of encoding, offset, size and clean bits of each field. */
function enlightenedVmcs() {
  const groups = rows('evmcs_clean_fields');
  const clean = new Map(groups.map(({ name, mask }) => [name, mask]));
  const layout = rows('evmcs_layout').filter(({ field }) => !field.startsWith('padding'));
  const offsets = layout.map(({ field, offset }) => define(`EVMCS_${field.toUpperCase()}`, offset));
  const items = layout
    .filter(({ encoding_name }) => encoding_name !== '-')
    .map((row) => `  X(${row.encoding}, ${row.offset}, ${row.size}, ${clean.get(row[cleanColumn])})`);
  return `/* Enlightened VMCS. */
${offsets.join('')}${groups.map(({ name, mask }) => define(`EVMCS_CLEAN_${name}`, mask)).join('')}#define EVMCS_FIELD_LIST(X) \\
${items.join(' \\\n')}\n`;
}

const cleanColumn = 'clean_field_group(VMREAD/VMWRITE map)';

function assistPage() {
  const wanted = ['apic_assist', 'enlighten_vmentry', 'current_nested_vmcs'];
  const body = rows('vp_assist_page').filter(({ field }) => wanted.includes(field));
  return `/* VP assist page. */
${body.map(({ field, offset }) => define(`VP_ASSIST_${field.toUpperCase()}`, offset)).join('')}`;
}
