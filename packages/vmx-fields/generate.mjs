#!/usr/bin/env node
// Writes src/generated/*.ts from tables/*.tsv. A fact stands in a table once; where two reference tables state the same fact
// the generator demands that they agree. `node generate.mjs [--tables DIR] [--out DIR]`.
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { constants, demand, groupBy, hex, layout, moduleOf, named, quote, readTable } from './generate-module.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const tables = option('--tables') ?? join(here, 'tables');
const out = option('--out') ?? join(here, 'src/generated');

const encodings = read('vmcs_encodings').filter((row) => row.access === 'full');
const vmcs12Rows = read('vmcs12_layout');
const evmcsRows = read('evmcs_layout');
const controls = read('vmx_control_bits');

const modules = {
  'vmcs-fields': vmcsFields(),
  'vmcs12-layout': moduleOf('vmcs12_layout', 'layout', layout('vmcs12Layout', vmcs12Rows, 4096)),
  'evmcs-layout': evmcsLayout(),
  'evmcs-clean-fields': evmcsCleanFields(),
  'vp-assist-page': moduleOf('vp_assist_page', 'layout', layout('vpAssistPage', read('vp_assist_page'), 4096)),
  'virtual-apic-page': virtualApicPage(),
  'pi-desc': piDesc(),
  'msr-bitmap': msrBitmap(),
  'msr-bitmap-merge': msrBitmapMerge(),
  'nested-state': nestedState(),
  controls: controlMasks(),
  'exit-reasons': exitReasons(),
  'vm-instruction-errors': vmInstructionErrors(),
  'nested-vmx-caps': nestedVmxCaps(),
  msrs: msrs(),
  'architecture-bits': architectureBits(),
};

mkdirSync(out, { recursive: true });
for (const [name, text] of Object.entries(modules)) writeFileSync(join(out, `${name}.ts`), text);

// ---- one function a module ----

function vmcsFields() {
  const rows = encodings.map((row) => {
    checkEncoding(row);
    const vmcs12 = checkedOffset(row, row.vmcs12_offset, vmcs12Rows);
    const evmcs = checkedOffset(row, row.evmcs_offset, evmcsRows);
    const group = row.evmcs_clean_field === '-' ? '' : row.evmcs_clean_field;
    const shadow = row['shadow_vmcs(RO/RW)'].replace('-', '');
    const rare = row['rare_lazy_sync_field(is_vmcs12_ext_field)'] === 'yes' ? 1 : 0;
    return `  [${hex(row.encoding)}, '${row.name}', ${vmcs12}, ${evmcs}, '${group}', '${shadow}', ${rare}],`;
  });
  const words = encodings.map((row, ordinal) => `  ${row.name}: ${ordinal * 2},`);
  return moduleOf(
    'vmcs_encodings',
    'constants',
    `/** Index of the low 32-bit word of each field; the high word follows it. */`,
    ...constants('field', words),
    '',
    `/** Encoding, name, vmcs12 offset or -1, eVMCS offset or -1, clean-field group, shadow VMCS, synchronized rarely. */`,
    `export const fieldTuples: readonly (readonly [number, string, number, number, string, string, number])[] = [`,
    ...rows,
    '];',
  );
}

function evmcsLayout() {
  const copied = evmcsRows
    .filter((row) => row.encoding_name !== '-')
    .map((row) => {
      const group = row['clean_field_group(VMREAD/VMWRITE map)'];
      const expected = { never: true, always: group === 'NONE', [`if !clean.${group}`]: true };
      demand(expected[row.copied_into_vmcs12_on_entry], `evmcs_layout: ${row.field}: odd copy rule`);
      const into = { never: 0, always: 1 }[row.copied_into_vmcs12_on_entry] ?? 2;
      return `  ['${row.encoding_name}', ${into}, ${row.copied_out_on_exit === 'yes' ? 1 : 0}],`;
    });
  return moduleOf(
    'evmcs_layout',
    'layout',
    ...layout('evmcsLayout', evmcsRows, 1024),
    '',
    `/** Field, copied into vmcs12 at entry (0 never, 1 always, 2 when its group is not clean), copied out at exit. */`,
    `export const evmcsCopyTuples: readonly (readonly [string, number, number])[] = [`,
    ...copied,
    '];',
  );
}

function evmcsCleanFields() {
  const rows = read('evmcs_clean_fields');
  for (const row of rows) {
    if (row.bit !== '-')
      demand(Number(row.mask) === 2 ** Number(row.bit), `evmcs_clean_fields: ${row.name}: mask is not its bit`);
  }
  const masks = rows.map((row) => `  ${row.name}: ${row.mask},`);
  return moduleOf('evmcs_clean_fields', 'constants', ...constants('evmcsCleanFields', masks));
}

function virtualApicPage() {
  const rows = read('virtual_apic_page');
  const fields = rows.map((row) => ({ ...row, field: row.name, type: 'u32' }));
  const registers = rows.map((row) => {
    demand(
      Number(row.x2apic_msr) === 0x800 + Number(row.offset) / 16,
      `virtual_apic_page: ${row.name}: MSR is not its offset`,
    );
    return `  ${row.name}: ${row.x2apic_msr},`;
  });
  return moduleOf(
    'virtual_apic_page',
    ['layout', 'constants'],
    ...layout('virtualApicPage', fields),
    '',
    '/** The x2APIC MSR of each register: 0x800 + offset / 16. */',
    ...constants('x2apicMsr', registers),
  );
}

function piDesc() {
  const rows = read('pi_desc').map((row) => {
    const [first, last] = [Number(row.bit_lo), Number(row.bit_hi)];
    demand(last - first + 1 === Number(row.width_bits), `pi_desc: ${row.field}: width is not its bits`);
    demand(Math.floor(first / 8) - Number(row.byte_offset) <= 1, `pi_desc: ${row.field}: bits are not in its bytes`);
    return `  ${row.field}: { byteOffset: ${row.byte_offset}, firstBit: ${first}, lastBit: ${last} },`;
  });
  return moduleOf('pi_desc', 'bitLayout', ...named('piDesc', 'bitLayout', rows));
}

function msrBitmap() {
  const rows = read('msr_bitmap').filter((row) => row.byte_offset !== '-');
  return moduleOf(
    'msr_bitmap',
    [],
    'export const msrBitmap: readonly {',
    "  readonly access: 'read' | 'write';",
    '  readonly byteOffset: number;',
    '  readonly bytes: number;',
    '  readonly msrFirst: number;',
    '  readonly msrLast: number;',
    '}[] = [',
    ...rows.map((row) => {
      demand(
        (Number(row.msr_hi) - Number(row.msr_lo) + 1) / 8 === Number(row.bytes),
        `msr_bitmap: ${row.covers}: bytes do not fit`,
      );
      const access = row.covers.split(' ')[0];
      return `  { access: '${access}', byteOffset: ${row.byte_offset}, bytes: ${row.bytes}, msrFirst: ${row.msr_lo}, msrLast: ${row.msr_hi} },`;
    }),
    '];',
  );
}

function msrBitmapMerge() {
  const rows = read('msr_bitmap_merge').map((row) => {
    const perCounter = row.per_counter === '-' ? '' : `, counter: '${row.per_counter}'`;
    const range = `msrFirst: ${row.msr_first}, msrLast: ${row.msr_last}`;
    const access = `read: ${row.access.includes('R')}, write: ${row.access.includes('W')}`;
    return `  { order: ${row.order}, ${range}, ${access}, rule: '${row.rule}', requires: ${hex(maskOf(row.requires))}, since: '${row.present_in}'${perCounter} },`;
  });
  return moduleOf(
    'msr_bitmap_merge',
    [],
    "import type { MsrBitmapMergeRow } from '../msr-bitmap.ts';",
    '',
    'export const msrBitmapMergeRows: readonly MsrBitmapMergeRow[] = [',
    ...rows,
    '];',
  );
}

function nestedState() {
  const rows = read('nested_state_layout').filter((row) => row.field !== 'end');
  const scalar = rows.map((row) => (/^u\d+$/.test(row.type) ? row : { ...row, type: 'u8' }));
  const flagGroups = groupBy(read('nested_state_flags'), 'where');
  const flagsOf = (where) => flagGroups.get(where).map((row) => `  ${row.name}: ${row.value},`);
  const set = read('set_nested_state_rules').map(
    (row) =>
      `  { order: ${row.order}, layer: '${row.layer}', condition: ${quote(row.condition)}, result: ${quote(row.result)} },`,
  );
  const get = read('get_nested_state_rules').map((row) => {
    const bytes = row.size_written === '-' ? 'undefined' : row.size_written;
    return `  { condition: ${quote(row.condition)}, bytes: ${bytes}, data: ${quote(row.data)} },`;
  });
  return moduleOf(
    ['nested_state_layout', 'nested_state_flags', 'set_nested_state_rules', 'get_nested_state_rules'],
    ['layout', 'constants'],
    "import type { GetNestedStateRule, SetNestedStateRule } from '../nested-state.ts';",
    '',
    ...layout('nestedStateLayout', scalar),
    '',
    ...constants('nestedStateFlags', flagsOf('flags')),
    '',
    ...constants('nestedStateSmmFlags', flagsOf('hdr.vmx.smm.flags')),
    '',
    ...constants('nestedStateVmxFlags', flagsOf('hdr.vmx.flags')),
    '',
    ...constants('nestedStateIoctl', flagsOf('ioctl')),
    '',
    ...constants('nestedStateCapability', flagsOf('cap')),
    '',
    'export const setNestedStateRules: readonly SetNestedStateRule[] = [',
    ...set,
    '];',
    '',
    'export const getNestedStateRules: readonly GetNestedStateRule[] = [',
    ...get,
    '];',
  );
}

function controlMasks() {
  const words = {
    pinBased: 'pin-based',
    procBased: 'primary proc-based',
    secondary: 'secondary proc-based',
    tertiary: 'tertiary proc-based',
    vmExit: 'vm-exit',
    vmEntry: 'vm-entry',
  };
  const lines = [];
  for (const row of controls) {
    if (row.bit !== '-')
      demand(Number(row.mask) === 2 ** Number(row.bit), `vmx_control_bits: ${row.name}: mask is not its bit`);
  }
  for (const [name, word] of Object.entries(words)) {
    const rows = controls.filter((row) => row.control_field === word && row.bit !== '-');
    lines.push(
      ...constants(
        name,
        rows.map((row) => `  ${row.name}: ${row.mask},`),
      ),
      '',
    );
  }
  const always = controls.filter((row) => row.bit === '-');
  lines.push(
    ...constants(
      'alwaysOn',
      always.map((row) => `  ${row.name}: ${row.mask},`),
    ),
    '',
  );
  const allowed = Object.entries(words).map(([name, word]) => {
    const rows = controls.filter(
      (row) => row.control_field === word && row.bit !== '-' && row.allowed_with_eVMCS_v1 === 'yes',
    );
    return `  ${name}: ${hex(rows.reduce((mask, row) => mask + Number(row.mask), 0))},`;
  });
  lines.push(
    '/** What enlightened VMCS version 1 has fields for: all other controls are hidden from L1 that uses it. */',
  );
  lines.push(...constants('evmcsControls', allowed));
  return moduleOf('vmx_control_bits', 'constants', ...lines);
}

function exitReasons() {
  const rows = read('vmx_exit_reasons');
  const basic = rows.filter((row) => Number(row.number) < 0x10000);
  const flags = rows.filter((row) => Number(row.number) >= 0x10000);
  for (const row of basic)
    demand(row.name === `EXIT_REASON_${row.trace_symbol}`, `vmx_exit_reasons: ${row.name}: odd trace symbol`);
  return moduleOf(
    'vmx_exit_reasons',
    'constants',
    '/** Basic exit reasons by the symbol that trace events print: EXIT_REASON_ is left off. */',
    ...constants(
      'exitReason',
      basic.map((row) => `  ${row.trace_symbol}: ${row.number},`),
    ),
    '',
    '/** Bits above the basic exit reason, and the whole reasons that are not of the architecture. */',
    ...constants(
      'exitReasonFlags',
      flags.map((row) => `  ${row.name}: ${row.number},`),
    ),
  );
}

function vmInstructionErrors() {
  const rows = read('vm_instruction_errors').map((row) => `  ${row.name}: ${row.number},`);
  return moduleOf('vm_instruction_errors', 'constants', ...constants('vmInstructionError', rows));
}

function nestedVmxCaps() {
  const rows = read('nested_vmx_caps');
  const capabilities = rows.map(
    (row) => `  ${row.name}: { msr: ${row.msr}, low: ${half(row.must_be_1)}, high: ${half(row.may_be_1)} },`,
  );
  return moduleOf(
    'nested_vmx_caps',
    ['capabilityRows', 'constants'],
    '/** VMX capability MSRs by their SDM name. */',
    ...constants(
      'vmxMsr',
      rows.map((row) => `  ${row.name}: ${row.msr},`),
    ),
    '',
    ...named('capabilities', 'capabilityRows', capabilities),
  );
  function half(cell) {
    if (cell === 'hardware' || cell === 'true') return 'undefined';
    return hex(maskOf(cell.replace(/^true\|/, '')));
  }
}

function msrs() {
  return moduleOf(
    'msrs',
    'constants',
    ...constants(
      'msr',
      read('msrs').map((row) => `  ${row.name}: ${row.msr},`),
    ),
  );
}

function architectureBits() {
  const groups = groupBy(read('architecture_bits'), 'group');
  const lines = [];
  for (const [group, rows] of groups) {
    const values = rows.map((row) => `  ${row.name}: ${hex(bitsOrValue(row.bits_or_value))},`);
    lines.push(...(lines.length ? [''] : []), ...constants(group, values));
  }
  return moduleOf('architecture_bits', 'constants', ...lines);
}

// ---- checks between tables ----

/** Intel SDM volume 3, "VMCS Data Organization": access type 0, index 9:1, type 11:10, width 14:13. */
function checkEncoding(row) {
  const encoding = Number(row.encoding);
  const width = ['u16', 'u64', 'u32', 'natural(u64)'][(encoding >> 13) & 3];
  const type = ['control', 'read-only data (exit info)', 'guest state', 'host state'][(encoding >> 10) & 3];
  demand((encoding & ~0x6ffe) === 0, `vmcs_encodings: ${row.name}: reserved bits in ${row.encoding}`);
  demand(width === row.width, `vmcs_encodings: ${row.name}: width ${row.width} but ${row.encoding} says ${width}`);
  demand(type === row.type, `vmcs_encodings: ${row.name}: type ${row.type} but ${row.encoding} says ${type}`);
  demand(
    ((encoding >> 1) & 0x1ff) === Number(row.index),
    `vmcs_encodings: ${row.name}: index is not that of ${row.encoding}`,
  );
}

function checkedOffset(row, cell, layoutRows) {
  const found = layoutRows.find((candidate) => candidate.encoding_name === row.name);
  demand(
    cell === (found?.offset ?? '-'),
    `vmcs_encodings: ${row.name}: offset ${cell}, but the layout says ${found?.offset}`,
  );
  const bytes = { u16: 2, u32: 4, u64: 8, 'natural(u64)': 8 }[row.width];
  demand(!found || Number(found.size) === bytes, `vmcs_encodings: ${row.name}: layout has ${found?.size} bytes`);
  return cell === '-' ? -1 : Number(cell);
}

/** `A|B|0x10` as one mask: names are controls. */
function maskOf(cell) {
  if (cell === '-') return 0;
  return cell.split('|').reduce((mask, name) => {
    const value = name.startsWith('0x') ? name : controls.find((row) => row.name === name)?.mask;
    demand(value !== undefined, `no control is called ${name}`);
    return (mask | Number(value)) >>> 0;
  }, 0);
}

function bitsOrValue(cell) {
  if (cell.startsWith('=')) return Number(cell.slice(1));
  const [first, last = first] = cell.split('-').map(Number);
  return 2 ** (last + 1) - 2 ** first;
}

function read(name) {
  return readTable(tables, name);
}

function option(name) {
  const at = process.argv.indexOf(name);
  return at < 0 ? undefined : process.argv[at + 1];
}
