import { parseArgs } from 'node:util';
import type { CommandSyntax, OptionRow } from './command.ts';
import { oneLine, UsageError } from './errors.ts';

/** A command line, taken apart. */
export interface Arguments {
  readonly operands: readonly string[];
  /** The value of an option that takes one. */
  text(name: string): string | undefined;
  /** Whether a switch is given. */
  has(name: string): boolean;
}

/** Switches that every command has. */
export const commonOptions: readonly OptionRow[] = [
  { name: 'debug', help: 'Show a stack trace when something breaks.' },
  { name: 'help', help: 'Show this text.' },
];

/**
 * Takes the arguments of one command apart. An option that is given twice counts as given last.
 *
 * @throws UsageError for an option that the command does not have, a value that is missing or not expected, and a number
 * of operands that is not the command's.
 */
export function parseArguments(syntax: CommandSyntax, given: readonly string[]): Arguments {
  const options = Object.fromEntries(
    [...syntax.options, ...commonOptions].map(({ name, value }) => [
      name,
      { type: value === undefined ? ('boolean' as const) : ('string' as const) },
    ]),
  );
  const { values, positionals } = parse(syntax, () =>
    parseArgs({ args: [...given], options, allowPositionals: true, strict: true }),
  );
  const found: Arguments = {
    operands: positionals,
    text: (name) => (typeof values[name] === 'string' ? values[name] : undefined),
    has: (name) => values[name] === true,
  };
  if (!found.has('help')) checkOperands(syntax, positionals);
  return found;
}

function parse<T>(syntax: CommandSyntax, run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw usageError(syntax, sentence(error.message));
  }
}

/** The first sentence of Node's message, begun in lower case. */
function sentence(message: string): string {
  const [first = ''] = oneLine(message).split(/\.(?: |$)/);
  return first.charAt(0).toLowerCase() + first.slice(1);
}

function checkOperands(syntax: CommandSyntax, operands: readonly string[]): void {
  const missing = syntax.operands[operands.length];
  if (missing !== undefined) throw usageError(syntax, `${missing} is missing`);
  const extra = operands[syntax.operands.length];
  if (extra !== undefined) throw usageError(syntax, `unexpected argument '${extra}'`);
}

/** A mistake in how a command was called; says where help is. */
export function usageError(syntax: CommandSyntax, reason: string): UsageError {
  return new UsageError(`${syntax.name}: ${reason} (see nvmx ${syntax.name} --help)`);
}
