import { field } from '@nvmx/vmx-fields';
import { Block, type CodePage } from './code-cache.ts';
import type { Cpu } from './cpu.ts';
import { Decoder, INSTRUCTION_BYTES_MAX } from './decode/decoder.ts';
import { hotCase } from './dispatch.ts';
import { isCanonical, raiseGeneralProtection, raiseUndefinedOpcode } from './faults.ts';
import { Attribute, type Instruction } from './instruction.ts';
import { Slot } from './slot.ts';
import { FETCH_STRIDE, PAGE_MASK, TLB_ENTRIES } from './tlb.ts';

const { GUEST_CS_BASE } = field;
const PAGE_BYTES = 0x1000;
const PAGE_OFFSET = 0xfff;
const BLOCK_INSTRUCTIONS_MAX = 48;

/** The decoded instructions from RIP on. Raises the fault of the fetch. */
export function fetchBlock(cpu: Cpu): Block {
  const { r } = cpu;
  const rip = r[Slot.RIP];
  let low = rip;
  let high = r[Slot.RIP + 1];
  if (cpu.mode !== 64) {
    low = (low + cpu.v[GUEST_CS_BASE]) | 0;
    high = 0;
  }
  const offset = low & PAGE_OFFSET;
  const index = (low >>> 12) & (TLB_ENTRIES - 1);
  const e = index * FETCH_STRIDE;
  const hit = cpu.fetchTlb[e] === (low & PAGE_MASK) && cpu.fetchTlb[e + 1] === high;
  const page = hit ? (cpu.fetchPages[index] as CodePage) : fetchPage(cpu, low, high);
  r[Slot.PAGE] = rip - offset;
  r[Slot.PAGE + 1] = r[Slot.RIP + 1] - (rip >>> 0 < offset ? 1 : 0);
  const at = page.blockAt[offset];
  return at !== 0 ? page.blocks[at - 1] : decodeBlock(cpu, page, low, high);
}

function fetchPage(cpu: Cpu, low: number, high: number): CodePage {
  if (cpu.mode === 64 && !isCanonical(high)) raiseGeneralProtection(cpu);
  const page = cpu.translator.fetch(low, high);
  if (page === undefined) raiseUndefinedOpcode(cpu);
  return page;
}

const decoder = new Decoder();

function decodeBlock(cpu: Cpu, page: CodePage, low: number, high: number): Block {
  const start = low & PAGE_OFFSET;
  const base = page.pfn * PAGE_BYTES;
  const list: Instruction[] = [];
  let offset = start;
  while (list.length < BLOCK_INSTRUCTIONS_MAX) {
    const i = decoder.decode({ bytes: cpu.u8, base, offset, available: PAGE_BYTES - offset, mode: cpu.mode });
    if (i === undefined) break;
    i.position = list.length;
    i.hot = hotCase(i.run);
    list.push(i);
    offset = i.next;
    if ((i.attributes & Attribute.ENDS_BLOCK) !== 0 || offset >= PAGE_BYTES) break;
  }
  if (list.length === 0) return crossingBlock(cpu, page, low, high);
  const block = new Block(list);
  cpu.code.add(page, block, { start, end: offset });
  return block;
}

const window = new Uint8Array(INSTRUCTION_BYTES_MAX);

/**
 * One instruction that crosses the end of its page. Its second page may change under another mapping, so what was
 * decoded counts only as long as the bytes are the same.
 */
function crossingBlock(cpu: Cpu, page: CodePage, low: number, high: number): Block {
  const offset = low & PAGE_OFFSET;
  const first = PAGE_BYTES - offset;
  const nextLow = (low + first) | 0;
  const second = nextPage(cpu, nextLow, (high + (nextLow === 0 ? 1 : 0)) | 0);
  const known = page.crossing.get(offset);
  if (known !== undefined && isSame(cpu, known.bytes, page.pfn * PAGE_BYTES + offset, first, second))
    return known.block;
  for (let n = 0; n < INSTRUCTION_BYTES_MAX; n++)
    window[n] = byteAt(cpu, page.pfn * PAGE_BYTES + offset, first, second, n);
  const i = decoder.decode({ bytes: window, base: -offset, offset, available: INSTRUCTION_BYTES_MAX, mode: cpu.mode });
  if (i === undefined) raiseGeneralProtection(cpu);
  const block = new Block([i]);
  page.crossing.set(offset, { block, bytes: window.slice(0, i.length) });
  return block;
}

function byteAt(cpu: Cpu, address: number, first: number, second: number, n: number): number {
  return n < first ? cpu.u8[address + n] : cpu.u8[second + n - first];
}

function isSame(cpu: Cpu, bytes: Uint8Array, address: number, first: number, second: number): boolean {
  for (let n = 0; n < bytes.length; n++) if (bytes[n] !== byteAt(cpu, address, first, second, n)) return false;
  return true;
}

/** Host-physical address of the page that a crossing instruction runs into. */
function nextPage(cpu: Cpu, low: number, high: number): number {
  const index = (low >>> 12) & (TLB_ENTRIES - 1);
  const e = index * FETCH_STRIDE;
  const hit = cpu.fetchTlb[e] === (low & PAGE_MASK) && cpu.fetchTlb[e + 1] === high;
  const page = hit ? (cpu.fetchPages[index] as CodePage) : fetchPage(cpu, low, high);
  return page.pfn * PAGE_BYTES;
}
