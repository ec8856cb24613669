import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { below, layers, testLayers } from '../src/layers.ts';
import { readHouse } from '../src/read-house.ts';
import { violationText } from '../src/rule.ts';
import { rules } from '../src/rules.ts';

const house = readHouse(fileURLToPath(new URL('../../..', import.meta.url)));

describe('the house keeps its rules', () => {
  it.each(rules.map((rule) => [`${rule.name}: ${rule.statement}`, rule] as const))('%s', (_, rule) => {
    expect([...rule.check(house)].map(violationText)).toEqual([]);
  });
});

describe('the table of layers', () => {
  const names = Object.keys(layers);

  it.each(names)('%s stands only on layers written above it', (name) => {
    const above = names.slice(0, names.indexOf(name));
    expect(above).toEqual(expect.arrayContaining([...below(name)]));
  });

  it('what tests may import besides makes no circle of packages', () => {
    for (const [name, extra] of Object.entries(testLayers)) {
      for (const other of extra) expect([...below(other)], `${other} under ${name}`).not.toContain(name);
    }
  });
});
