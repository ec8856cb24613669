import ts from 'typescript';
import type { TextFile } from '../house.ts';
import type { Rule } from '../rule.ts';
import { isTest, lineOf, memberAccess, nodes, tree } from '../syntax.ts';

/** A rule on the syntax of tests: `judge` gives the complaint about a node, if there is one. */
function testRule(o: {
  readonly name: string;
  readonly statement: string;
  readonly judge: (node: ts.Node) => string | undefined;
  readonly exempt?: (file: TextFile) => boolean;
}): Rule {
  return {
    name: o.name,
    statement: o.statement,
    *check(house) {
      for (const file of house.files.filter((candidate) => isTest(candidate) && o.exempt?.(candidate) !== true)) {
        for (const node of nodes(tree(file))) {
          const message = o.judge(node);
          if (message !== undefined) yield { path: file.path, line: lineOf(file, node), message };
        }
      }
    },
  };
}

const clocks = new Set(['Date.now', 'performance.now', 'process.hrtime', 'process.uptime']);

const noClock = testRule({
  name: 'no-clock',
  statement: 'a test reads no clock',
  judge(node) {
    const access = memberAccess(node);
    if (access !== undefined && clocks.has(access)) return access;
    const date = ts.isNewExpression(node) && ts.isIdentifier(node.expression) && node.expression.text === 'Date';
    return date && (node.arguments?.length ?? 0) === 0 ? 'new Date()' : undefined;
  },
});

const noChance = testRule({
  name: 'no-chance',
  statement: 'a test draws no random numbers: fast-check with a fixed seed does',
  judge(node) {
    const access = memberAccess(node);
    return access === 'Math.random' || access === 'crypto.randomUUID' || access === 'crypto.getRandomValues'
      ? access
      : undefined;
  },
});

const propertiesAreSeeded: Rule = {
  name: 'seeded-properties',
  statement: 'a file that asserts fast-check properties fixes their seed',
  *check(house) {
    for (const file of house.files.filter(isTest)) {
      const uses = [...nodes(tree(file))].find(
        (node) => memberAccess(node) === 'fc.assert' || memberAccess(node) === 'fc.check',
      );
      if (uses !== undefined && !/\bseed\b/.test(file.text)) {
        yield { path: file.path, line: lineOf(file, uses), message: 'fc.assert without a seed' };
      }
    }
  },
};

const runners = new Set(['it', 'test', 'describe', 'bench', 'suite']);
const switches = new Set(['only', 'skip', 'todo', 'fails']);

const everyTestRuns = testRule({
  name: 'no-only-no-skip',
  statement: 'no test is switched off, and none switches the others off (skipIf names its reason)',
  judge(node) {
    if (!ts.isPropertyAccessExpression(node) || !switches.has(node.name.text)) return undefined;
    let receiver: ts.Expression = node.expression;
    while (ts.isPropertyAccessExpression(receiver) || ts.isCallExpression(receiver)) receiver = receiver.expression;
    return ts.isIdentifier(receiver) && runners.has(receiver.text) ? `${receiver.text}.${node.name.text}` : undefined;
  },
});

const noModuleMocks = testRule({
  name: 'no-module-mocks',
  statement: 'no module is mocked',
  judge(node) {
    const access = memberAccess(node);
    return access === 'vi.mock' || access === 'vi.doMock' || access === 'vi.hoisted' ? access : undefined;
  },
});

export const testRules: readonly Rule[] = [noClock, noChance, propertiesAreSeeded, everyTestRuns, noModuleMocks];
