import { readFile, stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { UsageError } from './errors.ts';

/** No image for at most 3 GiB of memory is larger, symbols included; Node.js reads no more in one piece. */
const FILE_BYTES_MAX = 2 ** 31 - 1;

const reasons: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  EACCES: 'no permission to read it',
  EPERM: 'no permission to read it',
  EISDIR: 'it is a directory',
  ENOTDIR: 'no such file',
  ELOOP: 'too many symbolic links',
  ENAMETOOLONG: 'its name is too long',
};

/** The bytes of an image that the user named. Throws UsageError for whatever is in the way. */
export async function readImage(path: string): Promise<Uint8Array> {
  try {
    const found = await stat(path);
    if (found.isDirectory()) throw new UsageError(`cannot read ${path}: ${reasons.EISDIR}`);
    if (!found.isFile() && !found.isFIFO())
      throw new UsageError(`cannot read ${path}: it is neither a file nor a pipe`);
    if (found.size > FILE_BYTES_MAX) throw new UsageError(`cannot read ${path}: it is larger than 2 GiB`);
    return await readFile(path);
  } catch (error) {
    if (error instanceof UsageError) throw error;
    const { code = '', message } = error as NodeJS.ErrnoException;
    throw new UsageError(`cannot read ${path}: ${reasons[code] ?? message}`, { cause: error });
  }
}

/** How messages call the image. */
export function imageName(path: string): string {
  return basename(path);
}
