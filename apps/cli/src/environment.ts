/** Where output goes: the part of a Node.js stream that the command line uses. */
export interface OutputStream {
  write(chunk: string | Uint8Array): unknown;
  readonly isTTY?: boolean | undefined;
}

/** Everything outside: given by the process, or by a test. */
export interface Environment {
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  /** Monotonic, in milliseconds. */
  readonly clock: () => number;
  /** Environment variables. */
  readonly variables: Readonly<Record<string, string | undefined>>;
}

/** The process's own streams, clock and variables. */
export function processEnvironment(): Environment {
  return {
    stdout: process.stdout,
    stderr: process.stderr,
    clock: () => performance.now(),
    variables: process.env,
  };
}

/** One line for people about how things go. */
export function say(environment: Environment, line: string): void {
  environment.stderr.write(`nvmx: ${line}\n`);
}
