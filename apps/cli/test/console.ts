import type { Environment } from '../src/environment.ts';

/** What a command wrote, and an environment that catches it. The clock goes on by a second at each look. */
export interface Console {
  readonly environment: Environment;
  stdout(): string;
  stderr(): string;
}

export function createConsole(o: { readonly isTTY?: boolean; readonly clock?: () => number } = {}): Console {
  const written = { stdout: [] as Uint8Array[], stderr: [] as Uint8Array[] };
  let seconds = 0;
  const stream = (name: 'stdout' | 'stderr') => ({
    isTTY: o.isTTY,
    write: (chunk: string | Uint8Array) => written[name].push(Buffer.from(chunk)),
  });
  const text = (name: 'stdout' | 'stderr') => Buffer.concat(written[name]).toString('utf8');
  return {
    environment: {
      stdout: stream('stdout'),
      stderr: stream('stderr'),
      clock: o.clock ?? (() => 1000 * seconds++),
      variables: {},
    },
    stdout: () => text('stdout'),
    stderr: () => text('stderr'),
  };
}
