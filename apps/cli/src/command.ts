import type { Arguments } from './arguments.ts';
import type { Environment } from './environment.ts';
import type { ExitCode } from './exit-codes.ts';

/** One row of a command's help; also what the parser knows of the option. */
export interface OptionRow {
  /** Without the dashes. */
  readonly name: string;
  /** What stands for the value in the help: `SIZE`. Without it, the option is a switch. */
  readonly value?: string;
  readonly help: string;
}

/** What a command takes: the source of its parser and of its help. */
export interface CommandSyntax {
  readonly name: string;
  /** One line. */
  readonly summary: string;
  /** Names of the arguments, all required. */
  readonly operands: readonly string[];
  readonly options: readonly OptionRow[];
  /** Whole paragraphs below the options. */
  readonly notes: readonly string[];
}

/** A command of `nvmx`. */
export interface Command {
  readonly syntax: CommandSyntax;
  /** Throws UsageError and GuestFailure; anything else that it throws is a defect of nvmx. */
  execute(given: Arguments, environment: Environment): Promise<ExitCode>;
}
