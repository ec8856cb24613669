import { readFileSync } from 'node:fs';
import { expect, test, vi } from 'vitest';

const here = new URL('.', import.meta.url);

test('the usage of the README is the example, and the example prints what the README says', async () => {
  const example = readFileSync(new URL('readme.example.ts', here), 'utf8');
  const readme = readFileSync(new URL('../README.md', here), 'utf8');
  expect(readme).toContain(`\`\`\`ts\n${example}\`\`\``);
  const print = vi.spyOn(console, 'log').mockImplementation(() => {});
  await import('./readme.example.ts');
  const printed = print.mock.calls.map((values) => `${values.join(' ')}\n`).join('');
  print.mockRestore();
  expect(readme).toContain(`\`\`\`text\n${printed}\`\`\``);
});
