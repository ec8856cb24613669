import { expect, test } from 'vitest';
import { main } from '../src/cli.ts';
import { wrap } from '../src/text.ts';
import { createConsole } from './console.ts';

const helps = [['--help'], ['run', '--help'], ['compare', '--help'], ['compare', '--rounds', '3', '--help']];

test.each(helps)('nvmx %s %s prints help of at most 80 columns on stdout, and exits with 0', async (...given) => {
  const console = createConsole();
  expect(await main(given, console.environment)).toBe(0);
  expect(console.stderr()).toBe('');
  expect(
    Math.max(
      ...console
        .stdout()
        .split('\n')
        .map((line) => line.length),
    ),
  ).toBeLessThanOrEqual(80);
  expect(console.stdout()).toMatch(/Usage: nvmx [\s\S]*Exit codes: 0 done, 1 /);
});

test('the help of a command names every option that the specification gives it', async () => {
  const console = createConsole();
  await main(['run', '--help'], console.environment);
  await main(['compare', '--help'], console.environment);
  for (const option of ['append', 'memory', 'backend', 'timeout', 'debug', 'json', 'rounds', 'round-trips']) {
    expect(console.stdout()).toContain(`--${option}`);
  }
});

test('--version prints the version of the package', async () => {
  const console = createConsole();
  expect(await main(['--version'], console.environment)).toBe(0);
  expect(console.stdout()).toMatch(/^\d+\.\d+\.\d+\n$/);
});

test('lines break between words, and a word that is too long stays whole', () => {
  expect(wrap('one two three', 7)).toBe('one two\nthree');
  expect(wrap('incomprehensible it', 4)).toBe('incomprehensible\nit');
});
