import { parseArguments } from './arguments.ts';
import type { Command } from './command.ts';
import { compareCommand } from './commands/compare.ts';
import { runCommand } from './commands/run.ts';
import { type Environment, processEnvironment, say } from './environment.ts';
import { describeFailure, UsageError } from './errors.ts';
import { type ExitCode, exitCode } from './exit-codes.ts';
import { commandHelp, generalHelp } from './help.ts';
import { version } from './version.ts';

const commands: readonly Command[] = [runCommand, compareCommand];

/**
 * Runs `nvmx` with the given arguments, the words behind the program's name.
 *
 * Resolves to the exit code in every case: whatever goes wrong is one line on stderr, and a stack only with `--debug`.
 */
export async function main(
  given: readonly string[],
  environment: Environment = processEnvironment(),
): Promise<ExitCode> {
  try {
    return await dispatch(given, environment);
  } catch (error) {
    const { code, line } = describeFailure(error);
    say(environment, line);
    if (given.includes('--debug') && error instanceof Error) environment.stderr.write(`${error.stack}\n`);
    return code;
  }
}

async function dispatch(given: readonly string[], environment: Environment): Promise<ExitCode> {
  const [first, ...rest] = given;
  if (first === undefined) throw new UsageError('no command given (see nvmx --help)');
  if (first === '--help' || first === '-h' || first === 'help') return print(generalHelp(commands), environment);
  if (first === '--version') return print(`${version()}\n`, environment);
  const command = commands.find(({ syntax }) => syntax.name === first);
  if (command === undefined) {
    const what = first.startsWith('-') ? 'option' : 'command';
    throw new UsageError(`unknown ${what} '${first}' (see nvmx --help)`);
  }
  const parsed = parseArguments(command.syntax, rest);
  if (parsed.has('help')) return print(commandHelp(command.syntax), environment);
  return await command.execute(parsed, environment);
}

function print(text: string, environment: Environment): ExitCode {
  environment.stdout.write(text);
  return exitCode.DONE;
}
