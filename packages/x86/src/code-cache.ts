import type { Cpu } from './cpu.ts';
import type { CodeMode, Instruction } from './instruction.ts';

const PAGE_SIZE = 4096;
const PAGE_SHIFT = 12;
const CHUNK_SHIFT = 6;

/** Instructions that follow each other in one page, up to the first that may not be followed. */
export class Block {
  readonly list: Instruction[];
  readonly count: number;

  constructor(list: Instruction[]) {
    this.list = list;
    this.count = list.length;
  }
}

/** The decoded instructions of one frame in one code mode. */
export class CodePage {
  readonly pfn: number;
  readonly mode: CodeMode;
  /** Birth id of the frame that was decoded: another one means other content. */
  birth: number;
  /** 1 + index of the block that starts at each offset, 0: none. */
  readonly blockAt = new Int16Array(PAGE_SIZE);
  readonly blocks: Block[] = [];
  /** Single instructions that cross the end of the page, with the bytes that they were decoded from. */
  readonly crossing = new Map<number, { readonly block: Block; readonly bytes: Uint8Array }>();
  /** The 64-byte chunks that decoded instructions lie in, one bit each. */
  chunksLow = 0;
  chunksHigh = 0;

  constructor(pfn: number, mode: CodeMode, birth: number) {
    this.pfn = pfn;
    this.mode = mode;
    this.birth = birth;
  }

  add(block: Block, start: number, end: number): void {
    this.blocks.push(block);
    this.blockAt[start] = this.blocks.length;
    for (let chunk = start >> CHUNK_SHIFT; chunk <= (end - 1) >> CHUNK_SHIFT; chunk++) this.#cover(chunk);
  }

  /** Whether decoded instructions lie in one of the bytes from `offset` on. */
  covers(offset: number, bytes: number): boolean {
    for (let chunk = offset >> CHUNK_SHIFT; chunk <= (offset + bytes - 1) >> CHUNK_SHIFT; chunk++) {
      const word = chunk < 32 ? this.chunksLow : this.chunksHigh;
      if (((word >>> (chunk & 31)) & 1) === 1) return true;
    }
    return false;
  }

  clear(): void {
    this.blockAt.fill(0);
    this.blocks.length = 0;
    this.crossing.clear();
    this.chunksLow = 0;
    this.chunksHigh = 0;
  }

  #cover(chunk: number): void {
    if (chunk < 32) this.chunksLow |= 1 << chunk;
    else this.chunksHigh |= 1 << (chunk & 31);
  }
}

/**
 * Decoded instructions by frame. A frame that holds some is watched: writes to it do not go directly, and a write into
 * a chunk with decoded bytes drops what the page held. Frames that the host changes are dropped by `invalidate`, or
 * noticed by their birth id when a fetch translation is filled.
 */
export class CodeCache {
  readonly #cpu: Cpu;
  readonly #pages = new Map<number, CodePage>();
  /** 1 for each frame that holds decoded code. */
  readonly watched: Uint8Array;

  constructor(cpu: Cpu) {
    this.#cpu = cpu;
    this.watched = new Uint8Array(cpu.memory.frameCount);
  }

  page(pfn: number, mode: CodeMode): CodePage {
    const key = pfn * 128 + mode;
    const birth = this.#cpu.memory.frames.birth(pfn as never);
    let page = this.#pages.get(key);
    if (page === undefined) {
      page = new CodePage(pfn, mode, birth);
      this.#pages.set(key, page);
    } else if (page.birth !== birth) {
      page.clear();
      page.birth = birth;
    }
    return page;
  }

  /** Adds a block that was just decoded and makes sure that writes to its frame are seen. */
  add(page: CodePage, block: Block, range: { readonly start: number; readonly end: number }): void {
    page.add(block, range.start, range.end);
    this.watch(page.pfn);
  }

  watch(pfn: number): void {
    if (this.watched[pfn] === 1) return;
    this.watched[pfn] = 1;
    this.#cpu.tlbs.watchFrame((pfn << PAGE_SHIFT) | 0);
  }

  /** A write of the guest or of the processor reached a watched frame. */
  written(address: number, bytes: number): void {
    const pfn = Math.floor(address / PAGE_SIZE);
    const offset = address % PAGE_SIZE;
    for (const mode of MODES) {
      const page = this.#pages.get(pfn * 128 + mode);
      if (page === undefined || !page.covers(offset, bytes)) continue;
      this.invalidate(pfn);
      return;
    }
  }

  /** Drops everything decoded from a frame and leaves the block that is being carried out. */
  invalidate(pfn: number): void {
    for (const mode of MODES) this.#pages.get(pfn * 128 + mode)?.clear();
    this.watched[pfn] = 0;
    this.#cpu.blockEnd = 0;
  }
}

const MODES: readonly CodeMode[] = [16, 32, 64];
