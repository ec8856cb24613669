import {
  chmodSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type HostMemory, hpa, OperatingError, type Pfn, pfnToHpa } from '../src/index.ts';
import { createUnmanagedMemory } from '../src/linux.ts';
import { runChild } from './bundle.ts';
import { withMemory } from './kinds.ts';

const PAGE = 4096;
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'nvmx-guest-memory-'));
});

afterEach(() => rmSync(folder, { recursive: true }));

/** A file of that many bytes, each byte its offset divided by 16. */
function file(bytes: number): string {
  const path = join(folder, 'guest');
  writeFileSync(
    path,
    Uint8Array.from({ length: bytes }, (_, i) => i >> 4),
  );
  return path;
}

function caught(run: () => unknown): OperatingError {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(OperatingError);
    return error as OperatingError;
  }
  throw new Error('nothing was thrown');
}

/** The open descriptors of this process whose file has that name. */
function descriptors(name: string): number[] {
  return readdirSync('/proc/self/fd')
    .filter((fd) => linkOf(fd).includes(name))
    .map(Number);
}

function linkOf(fd: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return '';
  }
}

function mappedLines(name: string): number {
  return readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .filter((line) => line.includes(name)).length;
}

describe('windows', () => {
  let memory: HostMemory;

  beforeEach(() => {
    memory = createUnmanagedMemory({ guestFrames: 16, kernelFrames: 2, windows: 4 });
  });

  afterEach(() => memory.close());

  test('a map is a mapping of the process, an unmap ends it', () => {
    expect(mappedLines('nvmx-guest')).toBe(1);
    const mapping = memory.map(5 as Pfn);
    expect(mappedLines('nvmx-guest')).toBe(2);
    memory.unmap(mapping);
    expect(mappedLines('nvmx-guest')).toBe(1);
  });

  test('a window shows the very page of the file, each page its own', () => {
    for (let pfn = 2; pfn < 18; pfn++) memory.u32[(pfn * PAGE) / 4] = 1000 + pfn;
    for (let pfn = 2; pfn < 18; pfn++) {
      const mapping = memory.map(pfn as Pfn);
      expect(mapping.view.u32(0)).toBe(1000 + pfn);
      expect(mapping.view.base).not.toBe(pfn * PAGE);
      memory.unmap(mapping);
    }
  });

  test('after unmap a view reads zeros, and a stale store reaches nobody', () => {
    const mapping = memory.map(5 as Pfn);
    mapping.view.setU32(0, 42);
    memory.unmap(mapping);
    expect(mapping.view.u32(0)).toBe(0);
    mapping.view.setU32(0, 43);
    expect(memory.u32[(5 * PAGE) / 4]).toBe(42);
    const next = memory.map(6 as Pfn);
    expect(next.view.u32(0)).toBe(0);
    memory.unmap(next);
  });

  test('the window freed last is used first, and its view is made once', () => {
    const [a, b] = [memory.map(3 as Pfn), memory.map(4 as Pfn)];
    memory.unmap(a);
    const c = memory.map(5 as Pfn);
    expect(c.view).toBe(a.view);
    memory.unmap(c);
    memory.unmap(b);
    const d = memory.map(6 as Pfn);
    expect(d.view).toBe(b.view);
    memory.unmap(d);
  });

  test('no free window is ENOMEM; kernel frames need none; a freed window serves again', () => {
    const mappings = [2, 3, 4, 5].map((pfn) => memory.map(pfn as Pfn));
    const error = caught(() => memory.map(6 as Pfn));
    expect(error).toMatchObject({ code: 'ENOMEM', details: { pfn: 6, windows: 4, liveMappings: 4 } });
    expect(error.message).toBe('memory: map: pfn 6: all 4 windows are in use');
    memory.unmap(memory.map(1 as Pfn));
    memory.unmap(mappings[2]!);
    memory.unmap(memory.map(6 as Pfn));
    expect(memory.liveMappings).toBe(3);
  });

  test('4096 windows unless said otherwise', () => {
    const pages = Array.from({ length: 4097 }, (_, i) => (2 + i) as Pfn);
    withMemory(createUnmanagedMemory({ guestFrames: 4097, kernelFrames: 2 }), (other) => {
      for (const pfn of pages.slice(0, 4096)) other.map(pfn);
      expect(() => other.map(pages[4096]!)).toThrow('all 4096 windows are in use');
    });
  });

  test('a memory without windows maps nothing, and still copies', () => {
    withMemory(createUnmanagedMemory({ guestFrames: 1, kernelFrames: 1, windows: 0 }), (other) => {
      expect(() => other.map(1 as Pfn)).toThrow('all 0 windows are in use');
      other.write(hpa(PAGE), Uint8Array.of(9));
      expect(other.u8[PAGE]).toBe(9);
    });
  });

  test.each([-1, 1.5, Number.NaN])('%d is no count of windows', (windows) => {
    expect(() => createUnmanagedMemory({ guestFrames: 1, windows })).toThrow('is not a count of at least 0');
  });

  test('guest frames cannot be pinned: there is no struct page', () => {
    const pfn = memory.frames.allocate('guest');
    expect([memory.frames.pin(pfn), memory.frames.references(pfn)]).toEqual([false, 1]);
  });
});

describe('close', () => {
  test('leaves no mapping and no descriptor of the file, and zeros where it was', () => {
    const memory = createUnmanagedMemory({ guestFrames: 4, kernelFrames: 1 });
    expect(descriptors('nvmx-guest')).toHaveLength(1);
    const view = memory.map(2 as Pfn).view;
    memory.u8.fill(7, PAGE, 5 * PAGE);
    expect(view.u8(0)).toBe(7);
    memory.close();
    expect([descriptors('nvmx-guest').length, mappedLines('nvmx-guest'), view.u8(0), memory.u8[2 * PAGE]]).toEqual([
      0, 0, 0, 0,
    ]);
  });
});

describe('memfd', () => {
  test('is sealed: it can neither shrink nor grow', () => {
    withMemory(createUnmanagedMemory({ guestFrames: 4 }), () => {
      const [descriptor] = descriptors('nvmx-guest');
      for (const bytes of [0, 4 * PAGE - 1, 4 * PAGE + 1]) {
        expect(() => ftruncateSync(descriptor!, bytes)).toThrow('EPERM');
      }
    });
  });
});

describe('a named file', () => {
  test('is the guest memory: its bytes are there, and what is stored reaches it', () => {
    const path = file(3 * PAGE);
    withMemory(createUnmanagedMemory({ guestFrames: 3, kernelFrames: 1, file: path }), (memory) => {
      expect(memory.u8[PAGE + 4000]).toBe(4000 >> 4);
      const mapping = memory.map(3 as Pfn);
      expect(mapping.view.u8(160)).toBe(((2 * PAGE + 160) >> 4) & 0xff);
      mapping.view.setU8(0, 0x99);
      memory.u8[PAGE] = 0x77;
      memory.write(hpa(2 * PAGE), Uint8Array.of(0x88));
      const bytes = readFileSync(path);
      expect([bytes[0], bytes[PAGE], bytes[2 * PAGE]]).toEqual([0x77, 0x88, 0x99]);
      memory.unmap(mapping);
    });
  });

  test('is seen by two memories at once', () => {
    const path = file(PAGE);
    withMemory(createUnmanagedMemory({ guestFrames: 1, file: path }), (one) =>
      withMemory(createUnmanagedMemory({ guestFrames: 1, file: path }), (other) => {
        one.write(pfnToHpa(1024 as Pfn), Uint8Array.of(5, 6));
        expect([...other.map(1024 as Pfn).view.bytes(0, 3)]).toEqual([5, 6, 0]);
      }),
    );
  });

  test('a frame that is allocated is cleared, whatever the file held', () => {
    withMemory(createUnmanagedMemory({ guestFrames: 2, kernelFrames: 1, file: file(2 * PAGE) }), (memory) => {
      const pfn = memory.frames.allocate('guest');
      expect(memory.u8.subarray(pfn * PAGE, (pfn + 1) * PAGE).every((byte) => byte === 0)).toBe(true);
      expect(memory.u8[(pfn + 1) * PAGE + 160]).not.toBe(0);
    });
  });

  test('may be larger than guest memory, not smaller: EINVAL states both sizes', () => {
    const path = file(2 * PAGE + 1);
    withMemory(createUnmanagedMemory({ guestFrames: 2, file: path }), (memory) => expect(memory.frameCount).toBe(1026));
    truncateSync(path, 2 * PAGE - 1);
    const error = caught(() => createUnmanagedMemory({ guestFrames: 2, file: path }));
    expect(error).toMatchObject({ code: 'EINVAL', details: { fileBytes: 8191, bytesNeeded: 8192 } });
    expect(error.message).toBe(`memory: create: ${path}: has 8191 bytes, and guest memory needs 8192 (EINVAL)`);
  });

  test('missing is ENOENT', () => {
    const path = join(folder, 'nowhere');
    const error = caught(() => createUnmanagedMemory({ guestFrames: 1, file: path }));
    expect([error.code, error.message]).toEqual(['ENOENT', `memory: create: ${path}: no such file (ENOENT)`]);
    expect(error.cause).toMatchObject({ syscall: 'open' });
  });

  test('a path through a file is ENOTDIR, with the text of the system', () => {
    expect(caught(() => createUnmanagedMemory({ guestFrames: 1, file: `${file(1)}/below` }))).toMatchObject({
      code: 'ENOTDIR',
      message: expect.stringContaining('not a directory'),
    });
  });

  test('a folder is EINVAL', () => {
    mkdirSync(join(folder, 'inner'));
    const error = caught(() => createUnmanagedMemory({ guestFrames: 1, file: join(folder, 'inner') }));
    expect([error.code, error.message]).toEqual([
      'EINVAL',
      `memory: create: ${folder}/inner: is not a regular file (EINVAL)`,
    ]);
  });

  test('a device is EINVAL', () => {
    expect(caught(() => createUnmanagedMemory({ guestFrames: 1, file: '/dev/zero' })).code).toBe('EINVAL');
  });

  test('without permission is EACCES', async () => {
    const path = file(PAGE);
    chmodSync(path, 0o000);
    expect(await runChild('no-permission', [path])).toEqual({
      code: 'EACCES',
      message: `memory: create: ${path}: no permission to read and write it (EACCES)`,
    });
  });

  test('no refusal leaves a descriptor open', () => {
    const before = readdirSync('/proc/self/fd').length;
    const small = file(1);
    for (const path of [small, folder, '/dev/zero', join(folder, 'nowhere')]) {
      caught(() => createUnmanagedMemory({ guestFrames: 1, file: path }));
    }
    expect(readdirSync('/proc/self/fd').length).toBe(before);
  });
});

const mapCountMax = Number(readFileSync('/proc/sys/vm/max_map_count', 'utf8'));

describe('vm.max_map_count', () => {
  // As many windows, and as many pages to map over them, do not fit one linear memory of 4 GiB.
  const beyondReach = mapCountMax > 500_000;

  test.skipIf(beyondReach)(
    'is ENOMEM with the count of live mappings, which can be undone and made again',
    async () => {
      const result = await runChild('map-count-limit', [String(mapCountMax + 1000)]);
      const { reached } = result as { reached: number };
      expect(reached).toBeGreaterThan(mapCountMax / 2);
      expect(reached).toBeLessThan(mapCountMax);
      expect(result).toMatchObject({
        code: 'ENOMEM',
        details: { liveMappings: reached, mapCountMax },
        message: expect.stringContaining(
          `mmap failed with ENOMEM: ${reached} windows are mapped, and vm.max_map_count is ${mapCountMax}`,
        ),
        refusedAgain: true,
        works: true,
        left: 0,
      });
    },
  );
});
