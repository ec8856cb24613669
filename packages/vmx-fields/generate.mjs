#!/usr/bin/env node
// Writes src/generated/*.ts from tables/*.tsv. A fact stands in a table once; where two tables state the same fact, the
// generator demands that they agree. `node generate.mjs [--tables DIR] [--out DIR]`.
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  array,
  constants,
  demand,
  groupBy,
  hex,
  layout,
  moduleOf,
  named,
  quote,
  readTable,
} from './generate-module.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const tables = option('--tables') ?? join(here, 'tables');
const out = option('--out') ?? join(here, 'src/generated');

const encodings = read('vmcs_encodings').filter((row) => row.access === 'full');
const vmcs12Rows = read('vmcs12_layout');
const evmcsRows = read('evmcs_layout');
const controls = read('vmx_control_bits');

const modules = {
  'architecture-bits': architectureBits(),
  controls: controlMasks(),
  'evmcs-clean-fields': evmcsCleanFields(),
  'evmcs-layout': evmcsLayout(),
  'exit-reasons': exitReasons(),
  'msr-bitmap': msrBitmap(),
  'msr-bitmap-merge': msrBitmapMerge(),
  msrs: msrs(),
  'nested-state': nestedState(),
  'nested-vmx-caps': nestedVmxCaps(),
  'pi-desc': piDesc(),
  'virtual-apic-page': virtualApicPage(),
  'vm-instruction-errors': vmInstructionErrors(),
  'vmcs-fields': vmcsFields(),
  'vmcs12-layout': vmcs12Layout(),
  'vp-assist-page': vpAssistPage(),
};

mkdirSync(out, { recursive: true });
for (const [name, text] of Object.entries(modules)) writeFileSync(join(out, `${name}.ts`), text);

function vmcsFields() {
  const rows = encodings.map((row) => {
    checkEncoding(row);
    const vmcs12 = checkedOffset(row, row.vmcs12_offset, vmcs12Rows);
    const evmcs = checkedOffset(row, row.evmcs_offset, evmcsRows);
    const group = row.evmcs_clean_field === '-' ? '' : row.evmcs_clean_field;
    const shadow = row['shadow_vmcs(RO/RW)'].replace('-', '');
    const rare = row['rare_lazy_sync_field(is_vmcs12_ext_field)'] === 'yes' ? 1 : 0;
    return `[${hex(row.encoding)}, '${row.name}', ${vmcs12}, ${evmcs}, '${group}', '${shadow}', ${rare}]`;
  });
  return moduleOf({
    tables: ['vmcs_encodings'],
    helpers: ['constants'],
    blocks: [
      constants({
        doc: 'Index of the low 32-bit word of each field in the words of a Vmcs; the high word follows it.',
        name: 'field',
        entries: encodings.map((row, ordinal) => [row.name, ordinal * 2]),
      }),
      array({
        doc: 'Encoding, name, vmcs12 offset or -1, eVMCS offset or -1, clean-field group, shadow VMCS, rarely synchronized.',
        name: 'fieldTuples',
        type: '(readonly [number, string, number, number, string, string, number])',
        rows,
      }),
    ],
  });
}

function vmcs12Layout() {
  const doc = "The VMCS region of L1 as KVM lays it out: struct vmcs12, padding included. Members have KVM's names.";
  const block = layout({ doc, name: 'vmcs12Layout', rows: vmcs12Rows, bytesTotal: 4096 });
  return moduleOf({ tables: ['vmcs12_layout'], helpers: ['layout'], blocks: [block] });
}

function evmcsLayout() {
  const copied = evmcsRows.filter((row) => row.encoding_name !== '-');
  const rows = copied.map((row) => {
    const group = row['clean_field_group(VMREAD/VMWRITE map)'];
    const expected = { never: true, always: group === 'NONE', [`if !clean.${group}`]: true };
    demand(expected[row.copied_into_vmcs12_on_entry], `evmcs_layout: ${row.field}: odd copy rule`);
    const into = { never: 0, always: 1 }[row.copied_into_vmcs12_on_entry] ?? 2;
    return `['${row.encoding_name}', ${into}, ${row.copied_out_on_exit === 'yes' ? 1 : 0}]`;
  });
  const doc = 'The enlightened VMCS of the Hyper-V TLFS, version 1, padding included.';
  return moduleOf({
    tables: ['evmcs_layout'],
    helpers: ['layout'],
    blocks: [
      layout({ doc, name: 'evmcsLayout', rows: evmcsRows, bytesTotal: 1024 }),
      array({
        doc: 'Field, copied into vmcs12 at entry (0 never, 1 always, 2 when its group is not clean), copied out at exit.',
        name: 'evmcsCopyTuples',
        type: '(readonly [string, number, number])',
        rows,
      }),
    ],
  });
}

function evmcsCleanFields() {
  const rows = read('evmcs_clean_fields');
  checkBits('evmcs_clean_fields', rows);
  const doc = 'Clean-field groups of the enlightened VMCS: a set bit says that L1 has changed nothing in the group.';
  const block = constants({ doc, name: 'evmcsCleanFields', entries: rows.map((row) => [row.name, row.mask]) });
  return moduleOf({ tables: ['evmcs_clean_fields'], helpers: ['constants'], blocks: [block] });
}

function vpAssistPage() {
  const doc = 'The VP assist page of the Hyper-V TLFS.';
  const block = layout({ doc, name: 'vpAssistPage', rows: read('vp_assist_page'), bytesTotal: 4096 });
  return moduleOf({ tables: ['vp_assist_page'], helpers: ['layout'], blocks: [block] });
}

function virtualApicPage() {
  const rows = read('virtual_apic_page');
  for (const row of rows) {
    const fits = Number(row.x2apic_msr) === 0x800 + Number(row.offset) / 16;
    demand(fits, `virtual_apic_page: ${row.name}: MSR is not its offset`);
  }
  const fields = rows.map((row) => ({ ...row, field: row.name, type: 'u32' }));
  return moduleOf({
    tables: ['virtual_apic_page'],
    helpers: ['constants', 'layout'],
    blocks: [
      layout({ doc: 'Registers of a local APIC, and of a virtual-APIC page.', name: 'virtualApicPage', rows: fields }),
      constants({
        doc: 'The x2APIC MSR of each register of a local APIC: 0x800 + offset / 16.',
        name: 'x2apicMsr',
        entries: rows.map((row) => [row.name, row.x2apic_msr]),
      }),
    ],
  });
}

function piDesc() {
  const entries = read('pi_desc').map((row) => {
    const [first, last] = [Number(row.bit_lo), Number(row.bit_hi)];
    demand(last - first + 1 === Number(row.width_bits), `pi_desc: ${row.field}: width is not its bits`);
    demand(Math.floor(first / 8) - Number(row.byte_offset) <= 1, `pi_desc: ${row.field}: bits are not in its bytes`);
    return [row.field, `{ byteOffset: ${row.byte_offset}, firstBit: ${first}, lastBit: ${last} }`];
  });
  const block = named({
    doc: 'The 64-byte posted-interrupt descriptor.',
    name: 'piDesc',
    helper: 'bitLayout',
    entries,
  });
  return moduleOf({ tables: ['pi_desc'], helpers: ['bitLayout'], blocks: [block] });
}

function msrBitmap() {
  const ranges = read('msr_bitmap').filter((row) => row.byte_offset !== '-');
  const rows = ranges.map((row) => {
    const msrs = Number(row.msr_hi) - Number(row.msr_lo) + 1;
    demand(msrs / 8 === Number(row.bytes), `msr_bitmap: ${row.covers}: bytes do not fit`);
    const access = row.covers.split(' ')[0];
    return `{ access: '${access}', byteOffset: ${row.byte_offset}, bytes: ${row.bytes}, msrFirst: ${row.msr_lo}, msrLast: ${row.msr_hi} }`;
  });
  const doc = 'The four parts of an MSR bitmap. An MSR in none of them always exits.';
  const block = array({ doc, name: 'msrBitmap', type: 'MsrBitmapRange', rows });
  return moduleOf({ tables: ['msr_bitmap'], types: { MsrBitmapRange: 'msr-bitmap' }, blocks: [block] });
}

function msrBitmapMerge() {
  const rows = read('msr_bitmap_merge').map((row) => {
    const counter = row.per_counter === '-' ? '' : `, counter: '${row.per_counter}'`;
    const range = `msrFirst: ${row.msr_first}, msrLast: ${row.msr_last}`;
    const access = `read: ${row.access.includes('R')}, write: ${row.access.includes('W')}`;
    const requires = hex(maskOf(row.requires));
    return `{ order: ${row.order}, ${range}, ${access}, rule: '${row.rule}', requires: ${requires}, since: '${row.present_in}'${counter} }`;
  });
  const doc = "How L1's MSR bitmap merges into that of vmcs02: the rows apply in order to a bitmap of ones.";
  const block = array({ doc, name: 'msrBitmapMergeRows', type: 'MsrBitmapMergeRow', rows });
  return moduleOf({ tables: ['msr_bitmap_merge'], types: { MsrBitmapMergeRow: 'msr-bitmap' }, blocks: [block] });
}

function nestedState() {
  const flags = groupBy(read('nested_state_flags'), 'where');
  const group = (where, name, doc) =>
    constants({ doc, name, entries: flags.get(where).map((row) => [row.name, row.value]) });
  return moduleOf({
    tables: ['nested_state_layout', 'nested_state_flags', 'set_nested_state_rules', 'get_nested_state_rules'],
    helpers: ['constants', 'layout'],
    types: { 'GetNestedStateRule, SetNestedStateRule': 'nested-state' },
    blocks: [
      layout({
        doc: 'struct kvm_nested_state with its VMX parts.',
        name: 'nestedStateLayout',
        rows: read('nested_state_layout').filter((row) => row.field !== 'end'),
      }),
      group('flags', 'nestedStateFlags', 'Flags of struct kvm_nested_state.'),
      group('hdr.vmx.smm.flags', 'nestedStateSmmFlags', 'Flags of hdr.vmx.smm.'),
      group('hdr.vmx.flags', 'nestedStateVmxFlags', 'Flags of hdr.vmx.'),
      group('ioctl', 'nestedStateIoctl', 'ioctl numbers of KVM_GET_NESTED_STATE and KVM_SET_NESTED_STATE on x86.'),
      group('cap', 'nestedStateCapability', 'Numbers of the capabilities that KVM_CHECK_EXTENSION asks for.'),
      array({
        doc: 'What KVM_SET_NESTED_STATE checks and does, in order.',
        name: 'setNestedStateRules',
        type: 'SetNestedStateRule',
        rows: read('set_nested_state_rules').map(
          (row) =>
            `{ order: ${row.order}, layer: '${row.layer}', condition: ${quote(row.condition)}, result: ${quote(row.result)} }`,
        ),
      }),
      array({
        doc: 'What KVM_GET_NESTED_STATE writes.',
        name: 'getNestedStateRules',
        type: 'GetNestedStateRule',
        rows: read('get_nested_state_rules').map((row) => {
          const bytes = row.size_written === '-' ? 'undefined' : row.size_written;
          return `{ condition: ${quote(row.condition)}, bytes: ${bytes}, data: ${quote(row.data)} }`;
        }),
      }),
    ],
  });
}

function controlMasks() {
  checkBits('vmx_control_bits', controls);
  const words = [
    ['pinBased', 'pin-based', 'Pin-based VM-execution controls.'],
    ['procBased', 'primary proc-based', 'Primary processor-based VM-execution controls.'],
    ['secondary', 'secondary proc-based', 'Secondary processor-based VM-execution controls.'],
    ['tertiary', 'tertiary proc-based', 'Tertiary processor-based VM-execution controls.'],
    ['vmExit', 'vm-exit', 'VM-exit controls.'],
    ['vmEntry', 'vm-entry', 'VM-entry controls.'],
  ];
  const bitsOf = (word) => controls.filter((row) => row.control_field === word && row.bit !== '-');
  const allowed = words.map(([name, word]) => {
    const rows = bitsOf(word).filter((row) => row.allowed_with_eVMCS_v1 === 'yes');
    return [name, hex(rows.reduce((mask, row) => mask + Number(row.mask), 0))];
  });
  return moduleOf({
    tables: ['vmx_control_bits'],
    helpers: ['constants'],
    blocks: [
      ...words.map(([name, word, doc]) =>
        constants({ doc, name, entries: bitsOf(word).map((row) => [row.name, row.mask]) }),
      ),
      constants({
        doc: 'Default settings: the reserved controls that are 1 on a processor without TRUE control MSRs.',
        name: 'alwaysOn',
        entries: controls.filter((row) => row.bit === '-').map((row) => [row.name, row.mask]),
      }),
      constants({
        doc: 'What enlightened VMCS version 1 has fields for: all other controls are hidden from an L1 that uses it.',
        name: 'evmcsControls',
        entries: allowed,
      }),
    ],
  });
}

function exitReasons() {
  const rows = read('vmx_exit_reasons');
  const basic = rows.filter((row) => Number(row.number) < 0x10000);
  for (const row of basic) {
    demand(row.name === `EXIT_REASON_${row.trace_symbol}`, `vmx_exit_reasons: ${row.name}: odd trace symbol`);
  }
  const flags = rows.filter((row) => Number(row.number) >= 0x10000);
  return moduleOf({
    tables: ['vmx_exit_reasons'],
    helpers: ['constants'],
    blocks: [
      constants({
        doc: 'Basic exit reasons by the symbol that trace events print: EXIT_REASON_ is left off.',
        name: 'exitReason',
        entries: basic.map((row) => [row.trace_symbol, row.number]),
      }),
      constants({
        doc: 'Bits above the basic exit reason, and whole reasons that are not of the architecture.',
        name: 'exitReasonFlags',
        entries: flags.map((row) => [row.name, row.number]),
      }),
    ],
  });
}

function vmInstructionErrors() {
  const entries = read('vm_instruction_errors').map((row) => [row.name, row.number]);
  const block = constants({ doc: 'Values of VM_INSTRUCTION_ERROR.', name: 'vmInstructionError', entries });
  return moduleOf({ tables: ['vm_instruction_errors'], helpers: ['constants'], blocks: [block] });
}

function nestedVmxCaps() {
  const rows = read('nested_vmx_caps');
  const half = (cell) => (/^(hardware|true)$/.test(cell) ? 'undefined' : hex(maskOf(cell.replace(/^true\|/, ''))));
  return moduleOf({
    tables: ['nested_vmx_caps'],
    helpers: ['capabilityRows', 'constants'],
    blocks: [
      constants({
        doc: 'VMX capability MSRs by their SDM names.',
        name: 'vmxMsr',
        entries: rows.map((row) => [row.name, row.msr]),
      }),
      named({
        doc: 'What KVM shows to L1 on hardware that has everything.',
        name: 'capabilities',
        helper: 'capabilityRows',
        entries: rows.map((row) => [
          row.name,
          `{ msr: ${row.msr}, low: ${half(row.must_be_1)}, high: ${half(row.may_be_1)} }`,
        ]),
      }),
    ],
  });
}

function msrs() {
  const entries = read('msrs').map((row) => [row.name, row.msr]);
  const block = constants({ doc: 'Numbers of common MSRs by their SDM names.', name: 'msr', entries });
  return moduleOf({ tables: ['msrs'], helpers: ['constants'], blocks: [block] });
}

function architectureBits() {
  const docs = new Map(read('architecture_groups').map((row) => [row.group, row.doc]));
  const blocks = [...groupBy(read('architecture_bits'), 'group')].map(([name, rows]) => {
    demand(docs.has(name), `architecture_groups: ${name} has no row`);
    const entries = rows.map((row) => [row.name, hex(bitsOrValue(row.bits_or_value))]);
    return constants({ doc: docs.get(name), name, entries });
  });
  return moduleOf({ tables: ['architecture_bits', 'architecture_groups'], helpers: ['constants'], blocks });
}

/** Intel SDM volume 3, "VMCS Data Organization": access type in bit 0, index in 9:1, type in 11:10, width in 14:13. */
function checkEncoding(row) {
  const encoding = Number(row.encoding);
  const width = ['u16', 'u64', 'u32', 'natural(u64)'][(encoding >> 13) & 3];
  const type = ['control', 'read-only data (exit info)', 'guest state', 'host state'][(encoding >> 10) & 3];
  const index = (encoding >> 1) & 0x1ff;
  demand((encoding & ~0x6ffe) === 0, `vmcs_encodings: ${row.name}: reserved bits in ${row.encoding}`);
  demand(width === row.width, `vmcs_encodings: ${row.name}: width ${row.width} but ${row.encoding} says ${width}`);
  demand(type === row.type, `vmcs_encodings: ${row.name}: type ${row.type} but ${row.encoding} says ${type}`);
  demand(
    index === Number(row.index),
    `vmcs_encodings: ${row.name}: index ${row.index} but ${row.encoding} says ${index}`,
  );
}

function checkedOffset(row, cell, layoutRows) {
  const found = layoutRows.find((candidate) => candidate.encoding_name === row.name);
  const stated = found?.offset ?? '-';
  demand(cell === stated, `vmcs_encodings: ${row.name}: offset ${cell}, but the layout says ${stated}`);
  const bytes = { u16: 2, u32: 4, u64: 8, 'natural(u64)': 8 }[row.width];
  demand(!found || Number(found.size) === bytes, `vmcs_encodings: ${row.name}: the layout has ${found?.size} bytes`);
  return cell === '-' ? -1 : Number(cell);
}

function checkBits(table, rows) {
  for (const row of rows) {
    const fits = row.bit === '-' || Number(row.mask) === 2 ** Number(row.bit);
    demand(fits, `${table}: ${row.name}: mask is not its bit`);
  }
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

/** `=7` is the value 7, `5` the mask of bit 5, `8-10` that of bits 10:8. */
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
