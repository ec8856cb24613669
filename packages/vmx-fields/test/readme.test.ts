import { readFileSync } from 'node:fs';
import { expect, it, vi } from 'vitest';
import { packageRoot } from './tables.ts';

it('the usage of the README is the example, and the example prints what it says', async () => {
  const example = readFileSync(`${packageRoot}/test/readme.example.ts`, 'utf8');
  expect(readFileSync(`${packageRoot}/README.md`, 'utf8')).toContain(`\`\`\`ts\n${example}\`\`\``);
  const print = vi.spyOn(console, 'log').mockImplementation(() => {});
  await import('./readme.example.ts');
  const printed = print.mock.calls.map((values) => values.join(' '));
  print.mockRestore();
  const promised = [...example.matchAll(/^console\.log\(.*\); \/\/ (.*)$/gm)].map((match) => match[1]);
  expect(printed).toEqual(promised);
});
