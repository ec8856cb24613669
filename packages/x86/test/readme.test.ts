import { readFileSync } from 'node:fs';
import { expect, test, vi } from 'vitest';

const here = new URL('.', import.meta.url);

test('the usage of the README is the example, and the example prints what it says', async () => {
  const example = readFileSync(new URL('readme.example.ts', here), 'utf8');
  expect(readFileSync(new URL('../README.md', here), 'utf8')).toContain(`\`\`\`ts\n${example}\`\`\``);
  const print = vi.spyOn(console, 'log').mockImplementation(() => {});
  await import('./readme.example.ts');
  const printed = print.mock.calls.map((values) => values.join(' '));
  print.mockRestore();
  expect(printed).toEqual([...example.matchAll(/console\.log\(.*\); \/\/ (.*)$/gm)].map((match) => match[1]));
});
