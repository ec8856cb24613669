import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parseVectors, VectorRunner } from './integer-vectors.ts';

/** Made by vectors/generate.mjs: what the processor of a computer computes for the same inputs. */
const vectors = parseVectors(readFileSync(new URL('./vectors/integer.tsv', import.meta.url), 'utf8'));

describe('integer instructions give the results and the defined flags of a real processor', () => {
  const runner = new VectorRunner();
  it.each(vectors.map((vector) => [vector.name, vector] as const))('%s', (_, vector) => {
    expect(runner.run(vector)).toBe(vector.hash);
  });
});
