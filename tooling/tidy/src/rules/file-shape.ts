import ts from 'typescript';
import { libraries, type TextFile } from '../house.ts';
import type { Rule } from '../rule.ts';
import { isSource, nodes, tree } from '../syntax.ts';

const linesMax = 400;
const kebab = /^\.?[a-z0-9]+([-.][a-z0-9]+)*(\.S)?$/;
const customaryNames = /^(README|CHANGELOG|CONTRIBUTING|DESIGN|LICENSE|SECURITY|Makefile)(\.md)?$/;
const dynamicRoute = /^\[[a-z]+\]\./;
/** Vue components go by the name they have in a template. */
const component = /^([A-Z][a-z0-9]+)+\.vue$/;

const kebabCase: Rule = {
  name: 'kebab-case',
  statement: 'files and folders are named in kebab-case',
  *check(house) {
    for (const { path } of house.files.filter((file) => !isData(file.path))) {
      const bad = path
        .split('/')
        .find((part) => ![kebab, customaryNames, dynamicRoute, component].some((form) => form.test(part)));
      if (bad !== undefined) yield { path, message: `${bad} is not kebab-case` };
    }
  },
};

/** Reference tables and built images keep the names of what they hold. */
function isData(path: string): boolean {
  return path.endsWith('.tsv') || path.startsWith('guests/bin/');
}

const shortFiles: Rule = {
  name: 'file-length',
  statement: `a source file has at most ${linesMax} lines, tables not counted`,
  *check(house) {
    for (const file of house.files.filter(
      (candidate) => isSource(candidate) && !candidate.path.includes('/generated/'),
    )) {
      const lines = file.text.trimEnd().split('\n').length - tableLines(file);
      if (lines > linesMax) yield { path: file.path, message: `${lines} lines of code` };
    }
  },
};

/** Lines inside the array and object literals at the top level of the file that hold data, not statements. */
function tableLines(file: TextFile): number {
  const source = tree(file);
  const line = (position: number): number => source.getLineAndCharacterOfPosition(position).line;
  return source.statements
    .flatMap((statement) => (ts.isVariableStatement(statement) ? [...statement.declarationList.declarations] : []))
    .flatMap(({ initializer }) => (initializer === undefined ? [] : literals(initializer)))
    .filter((literal) => ![...nodes(literal)].some((node) => ts.isBlock(node)))
    .reduce((sum, literal) => sum + line(literal.getEnd()) - line(literal.getStart(source)), 0);
}

/** The literal itself, or the literals that are arguments of the call around them: `defineLayout({ ... })`. */
function literals(node: ts.Expression): readonly ts.Node[] {
  if (ts.isAsExpression(node) || ts.isSatisfiesExpression(node) || ts.isParenthesizedExpression(node)) {
    return literals(node.expression);
  }
  if (ts.isCallExpression(node) || ts.isNewExpression(node))
    return (node.arguments ?? []).flatMap((one) => literals(one));
  return ts.isArrayLiteralExpression(node) || ts.isObjectLiteralExpression(node) || ts.isTemplateLiteral(node)
    ? [node]
    : [];
}

const librariesAreQuiet: Rule = {
  name: 'no-console',
  statement: 'a library prints nothing: what it has to tell goes to its trace sink or its errors',
  *check(house) {
    for (const room of libraries(house)) {
      for (const file of room.files.filter(
        (candidate) => isSource(candidate) && candidate.path.startsWith(`${room.folder}/src/`),
      )) {
        for (const node of nodes(tree(file))) {
          if (ts.isIdentifier(node) && node.text === 'console') {
            yield {
              path: file.path,
              line: tree(file).getLineAndCharacterOfPosition(node.getStart()).line + 1,
              message: 'console',
            };
          }
        }
      }
    }
  },
};

export const fileShapeRules: readonly Rule[] = [kebabCase, shortFiles, librariesAreQuiet];
