import { createRequire } from 'node:module';
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

const PROT_READ_WRITE = 3;
const MAP_SHARED = 0x01;
const MAP_PRIVATE = 0x02;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
const MAP_NORESERVE = 0x4000;
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

/** Throws OperatingError ENOSYS where there is no Linux mmap(), or where koffi does not load. */
export function loadLinuxSystem(platform: Platform): LinuxSystem {
  if (platform.name !== 'linux') {
    const details = { platform: platform.name };
    throw new OperatingError('ENOSYS', `unmanaged memory: needs Linux, and this is ${platform.name}`, details);
  }
  return bind(load(platform));
}

function load(platform: Platform): Koffi {
  try {
    return platform.loadKoffi();
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.split('\n')[0] : String(cause);
    throw new OperatingError('ENOSYS', `unmanaged memory: koffi does not load: ${reason}`, { reason }, { cause });
  }
}

function bind(koffi: Koffi): LinuxSystem {
  const libc = koffi.load(null);
  const mmap = libc.func('intptr_t mmap(intptr_t address, size_t bytes, int prot, int flags, int fd, int64_t offset)');
  const memfdCreate = libc.func('int memfd_create(const char *name, unsigned int flags)');
  const fcntl = libc.func('int fcntl(int fd, int command, ...)');
  const pread = libc.func('intptr_t pread(int fd, void *target, size_t bytes, int64_t offset)');
  const pwrite = libc.func('intptr_t pwrite(int fd, const void *source, size_t bytes, int64_t offset)');
  const names = new Map(Object.entries(koffi.os.errno).map(([name, value]) => [value, name]));
  const anonymous = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
  return {
    mmap: ({ address, bytes, file }) =>
      file === undefined
        ? mmap(address, bytes, PROT_READ_WRITE, anonymous, -1, 0)
        : mmap(address, bytes, PROT_READ_WRITE, MAP_SHARED | MAP_FIXED, file.fd, file.offset),
    memfdCreate: (name) => memfdCreate(name, MFD_CLOEXEC | MFD_ALLOW_SEALING),
    addSeals: (fd, seals) => fcntl(fd, F_ADD_SEALS, 'int', seals),
    pread: (fd, target, offset) => pread(fd, target, target.length, offset),
    pwrite: (fd, source, offset) => pwrite(fd, source, source.length, offset),
    addressOf: (bytes) => Number(koffi.address(bytes)),
    errno: () => names.get(koffi.errno()) ?? `errno ${koffi.errno()}`,
  };
}
