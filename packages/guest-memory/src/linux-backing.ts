import { closeSync, constants, fstatSync, ftruncateSync, openSync } from 'node:fs';
import { OperatingError } from './errors.ts';
import { F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, type LinuxSystem } from './linux-system.ts';

/** The file that holds guest memory. The caller closes `fd`. */
export interface Backing {
  readonly fd: number;
  /** Whether the file is new, so that it holds zeros. */
  readonly zeroed: boolean;
  /** For messages. */
  readonly name: string;
}

/** An anonymous file of exactly this size, which nobody can shrink or grow: no truncation under a mapping, no SIGBUS. */
export function createMemfd(system: LinuxSystem, o: { bytes: number }): Backing {
  const fd = system.memfdCreate('nvmx-guest');
  if (fd === -1) throw failure(system.errno(), `memfd_create failed: ${system.errno()}`);
  try {
    ftruncateSync(fd, o.bytes);
    const sealed = system.addSeals(fd, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    if (sealed === -1) throw failure(system.errno(), `sealing the memfd failed: ${system.errno()}`);
  } catch (error) {
    closeSync(fd);
    throw operating(error, { name: 'memfd', bytes: o.bytes });
  }
  return { fd, zeroed: true, name: 'memfd' };
}

/** An existing regular file of at least this size, such as /dev/shm/vm0. */
export function openBacking(path: string, o: { bytes: number }): Backing {
  const fd = open(path);
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw failure('EINVAL', `${path} is not a regular file`, { path });
    if (stat.size < o.bytes) {
      const details = { path, fileBytes: stat.size, bytesNeeded: o.bytes };
      throw failure('EINVAL', `${path} has ${stat.size} bytes, and guest memory needs ${o.bytes}`, details);
    }
  } catch (error) {
    closeSync(fd);
    throw operating(error, { name: path, bytes: o.bytes });
  }
  return { fd, zeroed: false, name: path };
}

/** Does not wait for the other end of a FIFO. A directory cannot be opened for writing: that is EINVAL here. */
function open(path: string): number {
  try {
    return openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'EISDIR') throw failure('EINVAL', `${path} is not a regular file`, { path });
    throw operating(error, { name: path, bytes: 0 });
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  EACCES: 'no permission to read and write it',
  ENOMEM: 'not enough memory',
};

function operating(error: unknown, o: { name: string; bytes: number }): OperatingError {
  if (error instanceof OperatingError) return error;
  const { code = 'EIO', message } = error as NodeJS.ErrnoException;
  return failure(code, `${o.name}: ${REASONS[code] ?? message}`, { path: o.name, bytes: o.bytes }, error);
}

function failure(code: string, reason: string, details = {}, cause?: unknown): OperatingError {
  return new OperatingError(code, `unmanaged memory: ${reason}`, details, { cause });
}
