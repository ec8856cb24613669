/** errno names that this house uses. */
export type ErrnoName =
  | 'EACCES'
  | 'EAGAIN'
  | 'EBUSY'
  | 'EEXIST'
  | 'EFAULT'
  | 'EINVAL'
  | 'EIO'
  | 'EMFILE'
  | 'ENODEV'
  | 'ENOENT'
  | 'ENOEXEC'
  | 'ENOMEM'
  | 'ENOSYS'
  | 'ENXIO'
  | 'EPERM'
  | 'EWOULDBLOCK';

/**
 * The operation could not be done, and nobody made a programming mistake. `code` is the errno that Linux gives in that
 * place; the message names the operation, the address and the reason; `details` holds the same as data.
 */
export class OperatingError extends Error {
  override readonly name = 'OperatingError';
  readonly code: ErrnoName | (string & {});
  readonly details: Readonly<Record<string, unknown>>;

  constructor(
    code: ErrnoName | (string & {}),
    message: string,
    details: Readonly<Record<string, unknown>> = {},
    options?: { cause?: unknown },
  ) {
    super(message, options);
    this.code = code;
    this.details = details;
  }
}

/** A programmer error: a function was used against its contract. */
export class AssertionError extends Error {
  override readonly name = 'AssertionError';
}

/** Throws AssertionError. A hot path tests first and calls this, so that the sentence is never built in vain. */
export function fail(message: string): never {
  throw new AssertionError(message);
}

/**
 * Throws AssertionError with the sentence unless the condition holds. Stays on in production. Where the sentence is put
 * together from parts and the path is hot, give a function: it is called only on failure.
 */
export function assert(condition: unknown, message: string | (() => string)): asserts condition {
  if (!condition) fail(typeof message === 'string' ? message : message());
}
