import { commonOptions } from './arguments.ts';
import type { Command, CommandSyntax, OptionRow } from './command.ts';
import { exitCode } from './exit-codes.ts';
import { COLUMNS, wrap } from './text.ts';

const meanings: readonly (readonly [number, string])[] = [
  [exitCode.DONE, 'done'],
  [exitCode.CHECK_FAILED, 'a check failed'],
  [exitCode.USAGE, 'usage or input'],
  [exitCode.GUEST_FAILED, 'the guest failed'],
  [exitCode.OWN_DEFECT, 'a defect of nvmx'],
];

/** What `nvmx --help` prints. */
export function generalHelp(commands: readonly Command[]): string {
  const rows = commands.map(({ syntax }): [string, string] => [synopsis(syntax), syntax.summary]);
  return paragraphs([
    wrap('nvmx runs L1 hypervisors and their L2 guests on a software processor.'),
    `Usage: nvmx COMMAND [OPTION]...\n\n${table(rows)}`,
    table([
      ['nvmx COMMAND --help', 'The options of a command.'],
      ['nvmx --version', 'The version.'],
    ]),
    exitCodes(),
  ]);
}

/** What `nvmx COMMAND --help` prints. */
export function commandHelp(syntax: CommandSyntax): string {
  const rows = [...syntax.options, ...commonOptions].map((row): [string, string] => [flag(row), row.help]);
  return paragraphs([
    `Usage: nvmx ${synopsis(syntax)} [OPTION]...\n\n${wrap(syntax.summary)}`,
    table(rows),
    ...syntax.notes.map((note) => wrap(note)),
    exitCodes(),
  ]);
}

function synopsis({ name, operands }: CommandSyntax): string {
  return [name, ...operands].join(' ');
}

function flag({ name, value }: OptionRow): string {
  return value === undefined ? `--${name}` : `--${name} ${value}`;
}

function exitCodes(): string {
  return wrap(`Exit codes: ${meanings.map(([code, meaning]) => `${code} ${meaning}`).join(', ')}.`);
}

function paragraphs(parts: readonly string[]): string {
  return `${parts.join('\n\n')}\n`;
}

/** Two columns; the right one wraps. */
function table(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([left]) => left.length)) + 4;
  return rows
    .map(([left, right]) => {
      const text = wrap(right, COLUMNS - width)
        .split('\n')
        .join(`\n${' '.repeat(width)}`);
      return `  ${left.padEnd(width - 2)}${text}`;
    })
    .join('\n');
}
