/** A broken rule of this package's own contract: always a programmer error, never an outcome of a guest. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`vmx-fields: ${message}`);
}
