import { readFileSync } from 'node:fs';
import { expect, it, vi } from 'vitest';

it('the usage of the README is the example, and prints what it says', async () => {
  const example = readFileSync(new URL('./readme.example.ts', import.meta.url), 'utf8');
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
  expect(readme).toContain(`\`\`\`ts\n${example}\`\`\``);
  const log = vi.spyOn(console, 'log').mockImplementation(() => {});
  await import('./readme.example.ts');
  expect(log.mock.calls).toEqual([['halted', [42]]]);
  log.mockRestore();
});
