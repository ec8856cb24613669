import { describe, expect, it } from 'vitest';
import { houseOf } from '../src/house.ts';
import type { Violation } from '../src/rule.ts';
import { rules } from '../src/rules.ts';
import { type BadCase, fileCases, importCases, packageCases, wordCases } from './bad-cases.ts';
import { houseWith } from './clean-house.ts';

const cases: readonly BadCase[] = [...importCases, ...packageCases, ...fileCases, ...wordCases];

function place({ path, line }: Violation): string {
  return line === undefined ? path : `${path}:${line}`;
}

describe('a rule can fail', () => {
  it.each(cases.map((bad) => [`${bad.rule}: ${bad.case}`, bad] as const))('%s', (_, bad) => {
    const rule = rules.find((candidate) => candidate.name === bad.rule);
    const found = [...(rule?.check(houseWith(bad.files)) ?? [])].map(place);
    expect(found.sort()).toEqual([...bad.found].sort());
  });

  it('every rule has a case that breaks it', () => {
    expect(rules.map((rule) => rule.name).filter((name) => !cases.some((bad) => bad.rule === name))).toEqual([]);
  });

  it('rules have names of their own', () => {
    expect(new Set(rules.map((rule) => rule.name)).size).toBe(rules.length);
  });
});

describe('a rule can hold', () => {
  it.each(rules.map((rule) => [rule.name, rule] as const))('%s: the clean house keeps it', (_, rule) => {
    expect([...rule.check(houseWith({}))]).toEqual([]);
  });
});

describe('houseOf', () => {
  it('a package.json in packages, apps, tooling or guests makes a room; the others make none', () => {
    const house = houseOf(
      ['packages/a', 'apps/b', 'tooling/c', 'guests', 'docs', 'packages/a/test/deep'].map((folder) => ({
        path: `${folder}/package.json`,
        text: '{}',
      })),
    );
    expect(house.rooms.map((room) => room.folder)).toEqual(['packages/a', 'apps/b', 'tooling/c', 'guests']);
  });

  it('a package.json that is no JSON: throws SyntaxError', () => {
    expect(() => houseOf([{ path: 'packages/a/package.json', text: '{' }])).toThrow(SyntaxError);
  });
});
