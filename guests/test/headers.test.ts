import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeHeader } from '../headers.mjs';

const EVMCS_BYTES = 1024;

describe('vmx-tables.h', () => {
  const folder = mkdtempSync(join(tmpdir(), 'nvmx-guests-header-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const constants = new Map<string, number>();
  let fields: { encoding: number; offset: number; bytes: number; clean: number }[] = [];

  beforeAll(() => {
    writeHeader(folder);
    const text = readFileSync(join(folder, 'vmx-tables.h'), 'utf8');
    for (const [, name, value] of text.matchAll(/^#define (\w+) (0x[0-9a-f]+|\d+)$/gm))
      constants.set(name!, Number(value));
    const list = text.slice(text.indexOf('EVMCS_FIELD_LIST'), text.indexOf('/* VP assist page'));
    fields = [...list.matchAll(/X\((\w+), (\d+), (\d+), (\w+)\)/g)].map(([, ...cells]) => {
      const [encoding, offset, bytes, clean] = cells.map(Number) as [number, number, number, number];
      return { encoding, offset, bytes, clean };
    });
  });

  it('has no name without a number', () => {
    const text = readFileSync(join(folder, 'vmx-tables.h'), 'utf8');
    expect(text).not.toMatch(/undefined|NaN/);
  });

  it('the fields of an enlightened VMCS lie in its 1024 bytes, aligned, and none on another', () => {
    expect(fields.length).toBeGreaterThan(100);
    const taken = new Set<number>();
    for (const { offset, bytes } of fields) {
      expect(offset % bytes).toBe(0);
      expect(offset + bytes).toBeLessThanOrEqual(EVMCS_BYTES);
      for (let byte = offset; byte < offset + bytes; byte++) {
        expect(taken.has(byte)).toBe(false);
        taken.add(byte);
      }
    }
  });

  it('each encoding stands there once', () => {
    expect(new Set(fields.map(({ encoding }) => encoding)).size).toBe(fields.length);
  });

  it.each([
    ['GUEST_RIP', 816, 8, 0],
    ['TPR_THRESHOLD', 812, 4, 0],
    ['GUEST_RSP', 768, 8, 0x400],
    ['MSR_BITMAP', 120, 8, 0x2],
    ['VIRTUAL_APIC_PAGE_ADDR', 408, 8, 0x4],
    ['VM_EXIT_MSR_LOAD_COUNT', 392, 4, 0xffff],
  ])('%s is at %i, %i bytes long, in the clean groups %i', (name, offset, bytes, clean) => {
    const encoding = constants.get(`VMCS_${name}`);
    expect(fields.find((field) => field.encoding === encoding)).toEqual({ encoding, offset, bytes, clean });
    expect(constants.get(`EVMCS_${name}`)).toBe(offset);
  });

  it('version 1 has no APIC-access page and no posted-interrupt descriptor', () => {
    const encodings = fields.map(({ encoding }) => encoding);
    expect(encodings).not.toContain(constants.get('VMCS_APIC_ACCESS_ADDR'));
    expect(encodings).not.toContain(constants.get('VMCS_POSTED_INTR_DESC_ADDR'));
  });

  it('the VP assist page names the enlightened VMCS at 48 and enables it at 40', () => {
    expect(constants.get('VP_ASSIST_CURRENT_NESTED_VMCS')).toBe(48);
    expect(constants.get('VP_ASSIST_ENLIGHTEN_VMENTRY')).toBe(40);
  });
});
