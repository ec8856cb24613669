import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { packageRoot } from './tables.ts';

const temporary: string[] = [];

afterEach(() => {
  for (const directory of temporary.splice(0)) rmSync(directory, { recursive: true });
});

describe('the generated modules', () => {
  it('are byte for byte what the generator makes of the tables', () => {
    expect(generate(`${packageRoot}/tables`)).toEqual(modulesIn(`${packageRoot}/src/generated`));
  });

  it('differ from what the generator makes of any table with one cell changed', () => {
    const committed = modulesIn(`${packageRoot}/src/generated`);
    const edits: [string, string, string][] = [
      ['vmx_exit_reasons', '\tEXIT_REASON_HLT\tHLT', '\tEXIT_REASON_HALT\tHALT'],
      ['vm_instruction_errors', '28\tVMXERR', '29\tVMXERR'],
      ['msrs', '0xc0000103', '0xc0000104'],
      ['nested_vmx_caps', '0x063340c1', '0x063340c0'],
      ['architecture_bits', 'efer\tNXE\t11', 'efer\tNXE\t12'],
      ['set_nested_state_rules', 'EFAULT', 'ENOMEM'],
    ];
    for (const [table, from, to] of edits) {
      expect(generate(editedTables(table, from, to)), table).not.toEqual(committed);
    }
  });
});

describe('the generator', () => {
  it.each([
    [
      'an encoding whose width is another',
      'vmcs_encodings',
      '0x0000681e\tGUEST_RIP',
      '0x0000481e\tGUEST_RIP',
      'GUEST_RIP: width',
    ],
    [
      'an encoding whose type is another',
      'vmcs_encodings',
      '0x0000681e\tGUEST_RIP',
      '0x00006c1e\tGUEST_RIP',
      'GUEST_RIP: type',
    ],
    [
      'an encoding whose index is another',
      'vmcs_encodings',
      '0x0000681e\tGUEST_RIP',
      '0x00006820\tGUEST_RIP',
      'GUEST_RIP: index',
    ],
    [
      'an encoding with reserved bits',
      'vmcs_encodings',
      '0x0000681e\tGUEST_RIP',
      '0x0000e81e\tGUEST_RIP',
      'GUEST_RIP: reserved bits',
    ],
    [
      'a field that its layout puts elsewhere',
      'vmcs_encodings',
      '\tguest_rip\t544\t',
      '\tguest_rip\t552\t',
      'GUEST_RIP: offset',
    ],
    [
      'a vmcs12 member over another',
      'vmcs12_layout',
      '932\t28\tpadding32',
      '932\t24\tpadding32',
      'virtual_processor_id: starts at 960',
    ],
    ['a vmcs12 that does not fill its page', 'vmcs12_layout', '998\t3098', '998\t3097', 'ends at 4095'],
    [
      'a member that is no multiple of its type',
      'vp_assist_page',
      '0\t4\tapic_assist',
      '0\t5\tapic_assist',
      'apic_assist',
    ],
    [
      'a control whose mask is not its bit',
      'vmx_control_bits',
      '2\t0x00000004\tCPU_',
      '2\t0x00000008\tCPU_',
      'CPU_BASED_INTR_WINDOW_EXITING: mask',
    ],
    ['a clean-field mask that is not its bit', 'evmcs_clean_fields', '4\t0x0010', '4\t0x0011', 'CONTROL_PROC: mask'],
    [
      'a copy rule of another group',
      'evmcs_layout',
      'CRDR\tif !clean.CRDR',
      'CRDR\tif !clean.GUEST_GRP1',
      'odd copy rule',
    ],
    ['an x2APIC MSR that is not its offset', 'virtual_apic_page', '0x808', '0x809', 'TASKPRI: MSR'],
    ['a run of bits of another width', 'pi_desc', '256\t256\t1\tON', '256\t256\t2\tON', 'ON: width'],
    ['an MSR range that its bytes do not hold', 'msr_bitmap', '0x000\t0x400', '0x000\t0x3ff', 'bytes do not fit'],
    ['a group of bits without a docstring', 'architecture_groups', 'vmxAbort\t', 'vmxAborts\t', 'vmxAbort has no row'],
    [
      'an exit reason with another trace symbol',
      'vmx_exit_reasons',
      'REASON_HLT\tHLT',
      'REASON_HLT\tHALT',
      'EXIT_REASON_HLT',
    ],
    [
      'a control that no table names',
      'msr_bitmap_merge',
      'SECONDARY_EXEC_APIC_REGISTER_VIRT',
      'SECONDARY_EXEC_NONE',
      'no control is called',
    ],
  ])('refuses %s', (_case, table, from, to, message) => {
    expect(() => generate(editedTables(table, from, to))).toThrow(message);
  });
});

function generate(tables: string): Map<string, string> {
  const out = temporaryDirectory();
  execFileSync(process.execPath, [`${packageRoot}/generate.mjs`, '--tables', tables, '--out', out], { stdio: 'pipe' });
  return modulesIn(out);
}

function editedTables(table: string, from: string, to: string): string {
  const directory = temporaryDirectory();
  cpSync(`${packageRoot}/tables`, directory, { recursive: true });
  const path = join(directory, `${table}.tsv`);
  const text = readFileSync(path, 'utf8');
  expect(text, `${table} holds what the case changes`).toContain(from);
  writeFileSync(path, text.replace(from, to));
  return directory;
}

function modulesIn(directory: string): Map<string, string> {
  return new Map(readdirSync(directory).map((name) => [name, readFileSync(join(directory, name), 'utf8')]));
}

function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'vmx-fields-'));
  temporary.push(directory);
  return directory;
}
