import { fstatSync, openSync } from 'node:fs';
import { createRequire } from 'node:module';
import { describe, expect, test } from 'vitest';
import { OperatingError, type Pfn, pfnToHpa } from '../src/index.ts';
import { createUnmanagedMemory } from '../src/linux.ts';
import { UnmanagedMemory } from '../src/linux-memory.ts';
import { type LinuxSystem, loadLinuxSystem, requirePageSize, thisPlatform } from '../src/linux-system.ts';

const loadKoffi = thisPlatform.loadKoffi;

function caught(run: () => unknown): OperatingError {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(OperatingError);
    return error as OperatingError;
  }
  throw new Error('nothing was thrown');
}

describe('the platform', () => {
  test.each(['darwin', 'win32', 'freebsd', 'android'])(
    '%s has no Linux mmap: ENOSYS, and koffi is not even loaded',
    (name) => {
      const platform = { name, loadKoffi: () => expect.unreachable('koffi was loaded') };
      const error = caught(() => createUnmanagedMemory({ guestFrames: 1 }, platform));
      expect([error.code, error.message]).toEqual(['ENOSYS', `unmanaged memory needs Linux, and this is ${name}`]);
    },
  );

  test('koffi that is not installed: ENOSYS, one line, the cause kept', () => {
    const platform = { name: 'linux', loadKoffi: () => createRequire(import.meta.url)('koffi-that-is-not-there') };
    const error = caught(() => createUnmanagedMemory({ guestFrames: 1 }, platform));
    expect(error.code).toBe('ENOSYS');
    expect(error.message).toMatch(
      /^unmanaged memory needs koffi, which does not load: Cannot find module 'koffi-that-is-not-there'$/,
    );
    expect(error.cause).toMatchObject({ code: 'MODULE_NOT_FOUND' });
  });

  test('koffi that fails with something that is no Error: ENOSYS', () => {
    const fails = () => {
      throw 'no binary for this machine';
    };
    expect(caught(() => loadLinuxSystem({ name: 'linux', loadKoffi: fails })).message).toBe(
      'unmanaged memory needs koffi, which does not load: no binary for this machine',
    );
  });

  test.each([8192, 16_384, 65_536])('host pages of %d bytes: ENOSYS', (bytes) => {
    expect(caught(() => requirePageSize(bytes))).toMatchObject({
      code: 'ENOSYS',
      message: `unmanaged memory needs host pages of 4096 bytes, and these have ${bytes}`,
    });
    requirePageSize(4096);
  });

  test('this one loads', () => {
    expect(loadLinuxSystem({ name: 'linux', loadKoffi }).errno()).toBeTypeOf('string');
  });
});

/** The real system, with some calls that fail as the kernel could make them fail. */
function failing(calls: (real: LinuxSystem) => Partial<LinuxSystem>): LinuxSystem {
  const real = loadLinuxSystem(thisPlatform);
  return { ...real, ...calls(real) };
}

const sizes = { guestFrames: 4, kernelFrames: 1, windows: 4 };
const base = pfnToHpa(1 as Pfn);

describe('a system call that fails', () => {
  test.each<[string, Partial<LinuxSystem>, string, string]>([
    [
      'memfd_create()',
      { memfdCreate: () => -1, errno: () => 'EMFILE' },
      'EMFILE',
      'memfd: memfd_create() failed (EMFILE)',
    ],
    ['sealing', { addSeals: () => -1, errno: () => 'EPERM' }, 'EPERM', 'memfd: sealing failed (EPERM)'],
    [
      'mmap() of the guest frames',
      { mmap: () => -1, errno: () => 'ENOMEM' },
      'ENOMEM',
      'mmap of 16384 bytes of memfd: ENOMEM',
    ],
  ])('%s at creation', (_call, calls, code, text) => {
    const error = caught(
      () =>
        new UnmanagedMemory(
          sizes,
          failing(() => calls),
        ),
    );
    expect([error.code, error.message]).toEqual([code, `memory: create: ${text}`]);
  });

  test('ftruncate() of the memfd: its own code', () => {
    const error = caught(
      () =>
        new UnmanagedMemory(
          sizes,
          failing(() => ({ memfdCreate: () => openReadOnly() })),
        ),
    );
    expect(error.code).toBe('EINVAL');
  });

  test.each(['pread', 'pwrite'] as const)('%s: EIO with the address and the reason', (call) => {
    const memory = new UnmanagedMemory(
      sizes,
      failing(() => ({ [call]: () => -1, errno: () => 'EIO' })),
    );
    const use = () => (call === 'pread' ? memory.read(base, new Uint8Array(1)) : memory.write(base, new Uint8Array(1)));
    expect(caught(use)).toMatchObject({
      code: 'EIO',
      message: `memory: ${call}: hpa 0x1000: EIO`,
      details: { hpa: 4096, reason: 'EIO' },
    });
    memory.close();
  });

  test('a file that ends early, as one that somebody truncated: EIO', () => {
    const memory = new UnmanagedMemory(
      sizes,
      failing(() => ({ pread: () => 0 })),
    );
    expect(caught(() => memory.read(base, new Uint8Array(1))).message).toContain('the file ends there');
    memory.close();
  });

  test('copies that the kernel cuts short go on where they stopped', () => {
    const memory = new UnmanagedMemory(
      sizes,
      failing((real) => ({
        pread: (fd, target, offset) => real.pread(fd, target.subarray(0, 3), offset),
        pwrite: (fd, source, offset) => real.pwrite(fd, source.subarray(0, 5), offset),
      })),
    );
    const source = Uint8Array.from({ length: 100 }, (_, i) => i);
    memory.write(base, source);
    const target = new Uint8Array(100);
    memory.read(base, target);
    expect(target).toEqual(source);
    memory.close();
  });

  test('mmap() of a window: the code, and the window stays free', () => {
    let refuse = true;
    const memory = new UnmanagedMemory(
      { ...sizes, windows: 1 },
      failing((real) => ({
        mmap: (request) => (refuse && request.bytes === 4096 && request.file !== undefined ? -1 : real.mmap(request)),
        errno: () => 'EAGAIN',
      })),
    );
    expect(caught(() => memory.map(2 as Pfn))).toMatchObject({
      code: 'EAGAIN',
      message: 'memory: map: pfn 2: mmap failed with EAGAIN: 0 windows are mapped',
    });
    refuse = false;
    memory.unmap(memory.map(2 as Pfn));
    memory.close();
  });

  test('mmap() that undoes a window: tried again with room made; if that fails too, the mapping stays live', () => {
    let refusals = 0;
    const memory = new UnmanagedMemory(
      sizes,
      failing((real) => ({
        mmap: (request) => (refusals > 0 && request.file === undefined && refusals-- > 0 ? -1 : real.mmap(request)),
        errno: () => 'ENOMEM',
      })),
    );
    const [first, second] = [memory.map(2 as Pfn), memory.map(3 as Pfn)];
    refusals = 1;
    memory.unmap(first);
    refusals = 2;
    expect(caught(() => memory.unmap(second)).message).toContain('memory: unmap: pfn 3: mmap failed with ENOMEM');
    expect([second.live, memory.liveMappings]).toEqual([true, 1]);
    refusals = 0;
    memory.unmap(second);
    memory.close();
  });

  test('without room to reserve, no window is mapped', () => {
    let room = false;
    const memory = new UnmanagedMemory(
      sizes,
      failing((real) => ({ takeMappings: (count) => (room ? real.takeMappings(count) : -1), errno: () => 'ENOMEM' })),
    );
    expect(caught(() => memory.map(2 as Pfn)).code).toBe('ENOMEM');
    room = true;
    memory.unmap(memory.map(2 as Pfn));
    memory.close();
  });

  test('close() gives the descriptor back even when unmapping fails', () => {
    let refuse = false;
    let fd = -1;
    const memory = new UnmanagedMemory(
      sizes,
      failing((real) => ({
        memfdCreate: (name) => {
          fd = real.memfdCreate(name);
          return fd;
        },
        mmap: (request) => (refuse ? -1 : real.mmap(request)),
      })),
    );
    memory.map(2 as Pfn);
    refuse = true;
    expect(() => memory.close()).toThrow(OperatingError);
    expect(() => fstatSync(fd)).toThrow('EBADF');
  });
});

function openReadOnly(): number {
  return openSync('/dev/null', 'r');
}
