/** A programmer error: the package was used against its contract. */
export class AssertionError extends Error {
  override readonly name = 'AssertionError';
}

/** Throws the sentence as AssertionError. Callers test first, so that a hot path never builds the sentence. */
export function fail(message: string): never {
  throw new AssertionError(message);
}
