import { OperatingError } from '@nvmx/guest-memory';
import { type ExitCode, exitCode } from './exit-codes.ts';

/** The command line, or something that it names, is not usable. The message is one line for people. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** The guest did not do what it is there for. The message is one line for people. */
export class GuestFailure extends Error {
  override readonly name = 'GuestFailure';
}

/** Runs what depends on input alone: an operating error in there is about that input. */
export function fromInput<T>(run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (error instanceof OperatingError) throw new UsageError(withoutPrefix(error.message), { cause: error });
    throw error;
  }
}

/** What an error that reached the top means for the one who called. */
export function describeFailure(error: unknown): { readonly code: ExitCode; readonly line: string } {
  if (error instanceof UsageError) return { code: exitCode.USAGE, line: error.message };
  if (error instanceof GuestFailure) return { code: exitCode.GUEST_FAILED, line: error.message };
  const message = error instanceof Error ? error.message : String(error);
  return { code: exitCode.OWN_DEFECT, line: `defect of nvmx: ${oneLine(message)} (--debug shows where)` };
}

export function oneLine(text: string): string {
  return text.replace(/\s*\n\s*/g, ' ').trim();
}

/** `machine: cannot load the image: ...`: which room says so is nothing to the one who typed the command. */
function withoutPrefix(message: string): string {
  return oneLine(message).replace(/^machine: /, '');
}
