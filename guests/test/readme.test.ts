import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

const read = (path: string) => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');
const readme = read('README.md');
const source = (name: string) => read(`images/compare/${name}`);
const quoted = (text: string) => [...text.matchAll(/"([^"]+)"/g)].map(([, word]) => word!);

describe('README.md on compare.elf', () => {
  it('has a row for each parameter', () => {
    const keys = quoted(/keys\[\] = \{([^}]*)\}/.exec(source('main.c'))![1]!);
    expect(keys.length).toBeGreaterThan(0);
    for (const key of keys) expect(readme).toContain(`| \`${key}=\` |`);
  });

  it('has a row for each page that can be made stale', () => {
    const names = quoted(/stale_names\[\] = \{([^}]*)\}/.exec(source('main.c'))![1]!);
    expect(names.at(-1)).toBe('none');
    for (const name of names.slice(0, -1)) expect(readme).toMatch(new RegExp(`^\\| \`${name}\` \\|`, 'm'));
  });

  it('has each report number of the storm, and says which are anomalies', () => {
    const rows = [...source('storm.c').matchAll(/^ {4}\[\w+\] = \{".*", (true|false)\},$/gm)].map(([, flag]) => flag);
    expect(rows.length).toBeGreaterThan(0);
    rows.forEach((flag, index) => {
      const number = `0x${(0x10 + index).toString(16)}`;
      const row = readme.split('\n').find((line) => line.startsWith('|') && line.split('|')[1]!.includes(number));
      expect(row, number).toBeDefined();
      expect(row!.trimEnd().endsWith('| yes |'), number).toBe(flag === 'true');
    });
  });

  it('has a row for each phase', () => {
    const phases = readdirSync(new URL('../images/compare', import.meta.url)).filter((name) =>
      /^phase-.*\.c$/.test(name),
    );
    const letters = phases.map((name) => /^\/\* \((\w)\)/.exec(source(name))![1]!).sort();
    expect(letters.join('')).toBe('abcdef');
    for (const letter of letters) expect(readme).toMatch(new RegExp(`^\\| ${letter} \\|`, 'm'));
  });
});
