import { closeSync, constants, fstatSync, ftruncateSync, openSync } from 'node:fs';
import { OperatingError } from './errors.ts';
import { F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, type LinuxSystem } from './linux-system.ts';

/** The open file that holds guest memory. The caller closes it. */
export interface Backing {
  readonly fd: number;
  /** For messages. */
  readonly name: string;
}

/** An anonymous file of exactly this size, which nobody can shrink or grow: no truncation under a mapping, no SIGBUS. */
export function createMemfd(system: LinuxSystem, o: { bytes: number }): Backing {
  const name = 'memfd';
  const fd = system.memfdCreate('nvmx-guest');
  if (fd === -1) throw refusal({ code: system.errno(), name, reason: 'memfd_create() failed' });
  return closedOnError({ fd, name }, () => {
    ftruncateSync(fd, o.bytes);
    if (system.addSeals(fd, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) === 0) return;
    throw refusal({ code: system.errno(), name, reason: 'sealing failed' });
  });
}

/** An existing regular file of at least this size, such as /dev/shm/vm0. */
export function openBacking(path: string, o: { bytes: number }): Backing {
  const fd = open(path);
  return closedOnError({ fd, name: path }, () => {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw notRegular(path);
    if (stat.size >= o.bytes) return;
    const details = { fileBytes: stat.size, bytesNeeded: o.bytes };
    const reason = `has ${stat.size} bytes, and guest memory needs ${o.bytes}`;
    throw refusal({ code: 'EINVAL', name: path, reason, details });
  });
}

/** Does not wait for the other end of a FIFO. */
function open(path: string): number {
  try {
    return openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  } catch (error) {
    throw operating(error, path);
  }
}

function closedOnError(backing: Backing, prepare: () => void): Backing {
  try {
    prepare();
    return backing;
  } catch (error) {
    closeSync(backing.fd);
    throw operating(error, backing.name);
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  EACCES: 'no permission to read and write it',
};

/** Node's error of a system call, as the house's. A directory cannot be opened for writing: that is EINVAL here. */
function operating(error: unknown, name: string): OperatingError {
  if (error instanceof OperatingError) return error;
  const { code = 'EIO', message } = error as NodeJS.ErrnoException;
  if (code === 'EISDIR') return notRegular(name);
  return refusal({ code, name, reason: REASONS[code] ?? message, cause: error });
}

function notRegular(name: string): OperatingError {
  return refusal({ code: 'EINVAL', name, reason: 'is not a regular file' });
}

function refusal(o: {
  code: string;
  name: string;
  reason: string;
  details?: Readonly<Record<string, unknown>>;
  cause?: unknown;
}): OperatingError {
  const text = `memory: create: ${o.name}: ${o.reason}${o.reason.includes(o.code) ? '' : ` (${o.code})`}`;
  const options = o.cause === undefined ? undefined : { cause: o.cause };
  return new OperatingError(o.code, text, { file: o.name, reason: o.reason, ...o.details }, options);
}
