import { createRequire } from 'node:module';
import { PAGE_SIZE } from './addresses.ts';
import { OperatingError } from './errors.ts';

/** The calls of the C library that unmanaged memory stands on. A failed call returns -1 and leaves `errno()`. */
export interface LinuxSystem {
  mmap(o: MmapRequest): number;
  memfdCreate(name: string): number;
  addSeals(fd: number, seals: number): number;
  /** Up to `target.length` bytes. */
  pread(fd: number, target: Uint8Array, offset: number): number;
  /** Up to `source.length` bytes. */
  pwrite(fd: number, source: Uint8Array, offset: number): number;
  /**
   * Takes that many mappings, which cannot merge, somewhere in the process; returns the address, or -1. They hold no
   * memory: what they hold is room below vm.max_map_count.
   */
  takeMappings(count: number): number;
  giveMappings(o: { address: number; count: number }): void;
  /** The address of the first byte of a linear memory. */
  addressOf(bytes: Uint8Array): number;
  /** The name of the last call's errno. */
  errno(): string;
}

/** mmap() at a fixed address, readable and writable. Without a file: private anonymous zeros. */
export interface MmapRequest {
  readonly address: number;
  readonly bytes: number;
  readonly file?: { readonly fd: number; readonly offset: number };
}

export const F_SEAL_SEAL = 1;
export const F_SEAL_SHRINK = 2;
export const F_SEAL_GROW = 4;

const PROT_NONE = 0;
const PROT_READ = 1;
const PROT_READ_WRITE = 3;
const MAP_SHARED = 0x01;
const MAP_PRIVATE = 0x02;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
const MAP_NORESERVE = 0x4000;
const ANONYMOUS = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
const F_ADD_SEALS = 1033;

/** What the platform check looks at. Given by tests; everybody else takes the real ones. */
export interface Platform {
  readonly name: string;
  loadKoffi(): Koffi;
}

type Koffi = typeof import('koffi');

/** Loads koffi only here, and only when asked: importing this file costs nothing and fails nowhere. */
export const thisPlatform: Platform = {
  name: process.platform,
  loadKoffi: () => createRequire(import.meta.url)('koffi') as Koffi,
};

/** Throws OperatingError ENOSYS where there is no Linux mmap() of 4-KiB pages, or where koffi does not load. */
export function loadLinuxSystem(platform: Platform): LinuxSystem {
  if (platform.name !== 'linux') {
    const details = { platform: platform.name };
    throw new OperatingError('ENOSYS', `unmanaged memory needs Linux, and this is ${platform.name}`, details);
  }
  const koffi = load(platform);
  requirePageSize(koffi.load(null).func('int getpagesize()')());
  return bind(koffi);
}

/** A window is one page: where the host's pages are larger, it cannot be mapped alone. */
export function requirePageSize(bytes: number): void {
  if (bytes === PAGE_SIZE) return;
  const text = `unmanaged memory needs host pages of ${PAGE_SIZE} bytes, and these have ${bytes}`;
  throw new OperatingError('ENOSYS', text, { pageBytes: bytes });
}

function load(platform: Platform): Koffi {
  try {
    return platform.loadKoffi();
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.split('\n')[0] : String(cause);
    throw new OperatingError(
      'ENOSYS',
      `unmanaged memory needs koffi, which does not load: ${reason}`,
      { reason },
      { cause },
    );
  }
}

function bind(koffi: Koffi): LinuxSystem {
  const libc = koffi.load(null);
  const mmap = libc.func('intptr_t mmap(intptr_t address, size_t bytes, int prot, int flags, int fd, int64_t offset)');
  const munmap = libc.func('int munmap(intptr_t address, size_t bytes)');
  const mprotect = libc.func('int mprotect(intptr_t address, size_t bytes, int prot)');
  const memfdCreate = libc.func('int memfd_create(const char *name, unsigned int flags)');
  const fcntl = libc.func('int fcntl(int fd, int command, ...)');
  const pread = libc.func('intptr_t pread(int fd, void *target, size_t bytes, int64_t offset)');
  const pwrite = libc.func('intptr_t pwrite(int fd, const void *source, size_t bytes, int64_t offset)');
  const names = new Map(Object.entries(koffi.os.errno).map(([name, value]) => [value, name]));

  function takeMappings(count: number): number {
    const address = mmap(0, count * PAGE_SIZE, PROT_NONE, ANONYMOUS, -1, 0);
    // Neighbors with different protection cannot merge: each page is a mapping of its own.
    for (let page = 1; address !== -1 && page < count; page += 2) {
      if (mprotect(address + page * PAGE_SIZE, PAGE_SIZE, PROT_READ) === 0) continue;
      munmap(address, count * PAGE_SIZE);
      return -1;
    }
    return address;
  }

  return {
    mmap: ({ address, bytes, file }) =>
      file === undefined
        ? mmap(address, bytes, PROT_READ_WRITE, ANONYMOUS | MAP_FIXED, -1, 0)
        : mmap(address, bytes, PROT_READ_WRITE, MAP_SHARED | MAP_FIXED, file.fd, file.offset),
    memfdCreate: (name) => memfdCreate(name, MFD_CLOEXEC | MFD_ALLOW_SEALING),
    addSeals: (fd, seals) => fcntl(fd, F_ADD_SEALS, 'int', seals),
    pread: (fd, target, offset) => pread(fd, target, target.length, offset),
    pwrite: (fd, source, offset) => pwrite(fd, source, source.length, offset),
    takeMappings,
    giveMappings: ({ address, count }) => munmap(address, count * PAGE_SIZE),
    addressOf: (bytes) => Number(koffi.address(bytes)),
    errno: () => names.get(koffi.errno()) ?? `errno ${koffi.errno()}`,
  };
}
