import { describe, expect, test } from 'vitest';
import { parseArguments } from '../src/arguments.ts';
import type { CommandSyntax } from '../src/command.ts';
import { UsageError } from '../src/errors.ts';

const syntax: CommandSyntax = {
  name: 'try',
  summary: 'Try.',
  operands: ['FILE'],
  options: [
    { name: 'size', value: 'SIZE', help: 'A size.' },
    { name: 'quick', help: 'A switch.' },
  ],
  notes: [],
};

describe('arguments of a command', () => {
  test('options, switches and operands may stand in any order', () => {
    const given = parseArguments(syntax, ['--quick', 'a', '--size', '3']);
    expect([given.operands, given.text('size'), given.has('quick'), given.has('debug')]).toEqual([
      ['a'],
      '3',
      true,
      false,
    ]);
  });

  test('what is not given is undefined or false', () => {
    const given = parseArguments(syntax, ['a']);
    expect([given.text('size'), given.has('quick')]).toEqual([undefined, false]);
  });

  test('a value may begin with a dash behind an equals sign', () => {
    expect(parseArguments(syntax, ['a', '--size=-1']).text('size')).toBe('-1');
  });

  test('everything behind two dashes is an operand', () => {
    expect(parseArguments(syntax, ['--', '--quick']).operands).toEqual(['--quick']);
  });

  test('an option that is given twice counts as given last', () => {
    expect(parseArguments(syntax, ['a', '--size', '1', '--size', '2']).text('size')).toBe('2');
  });

  test('--help needs no operands', () => {
    expect(parseArguments(syntax, ['--help']).has('help')).toBe(true);
  });

  test.each([
    ['an unknown option', ['a', '--slow']],
    ['an unknown short option', ['a', '-x']],
    ['an option without its value', ['a', '--size']],
    ['an option whose value looks like an option', ['a', '--size', '--quick']],
    ['a switch with a value', ['a', '--quick=1']],
    ['no operand', []],
    ['an operand too many', ['a', 'b']],
  ])('%s is a usage error of one line', (_case, given) => {
    expect(() => parseArguments(syntax, given)).toThrow(UsageError);
    expect(() => parseArguments(syntax, given)).toThrow(/^try: [^\n]+ \(see nvmx try --help\)$/);
  });
});
