import ts from 'typescript';
import type { TextFile } from './house.ts';

const parsed = new WeakMap<TextFile, ts.SourceFile>();

export function isSource(file: TextFile): boolean {
  return /\.(ts|mts|mjs)$/.test(file.path);
}

/** Whether the file holds tests or what tests stand on: these follow the rules of tests, not those of shipped code. */
export function isTest(file: TextFile): boolean {
  return isSource(file) && (/(^|\/)test\//.test(file.path) || file.path.endsWith('.test.ts'));
}

/** The syntax tree of a source file, parsed once. A syntax error is no error here: the type check reports it. */
export function tree(file: TextFile): ts.SourceFile {
  let source = parsed.get(file);
  if (source === undefined) {
    source = ts.createSourceFile(file.path, file.text, ts.ScriptTarget.Latest, true);
    parsed.set(file, source);
  }
  return source;
}

/** One import, export-from or dynamic import: what stands in the quotes, and its line from 1. */
export interface ImportSite {
  readonly specifier: string;
  readonly line: number;
}

export function importsOf(file: TextFile): readonly ImportSite[] {
  return ts.preProcessFile(file.text, true, true).importedFiles.map(({ fileName, pos }) => ({
    specifier: fileName,
    line: lineAt(file.text, pos),
  }));
}

/** Every node of the tree, parents before children. */
export function* nodes(root: ts.Node): Generator<ts.Node> {
  yield root;
  const children: ts.Node[] = [];
  ts.forEachChild(root, (child) => {
    children.push(child);
  });
  for (const child of children) yield* nodes(child);
}

/** `receiver.member` where it is written with plain names, such as `Date.now`; undefined for any other node. */
export function memberAccess(node: ts.Node): string | undefined {
  return ts.isPropertyAccessExpression(node) && ts.isIdentifier(node.expression)
    ? `${node.expression.text}.${node.name.text}`
    : undefined;
}

export interface Comment {
  readonly text: string;
  readonly line: number;
}

/** The comments of a source file, each once, in order. Comment marks inside strings are no comments. */
export function commentsOf(file: TextFile): readonly Comment[] {
  const ranges = new Map<number, ts.CommentRange>();
  for (const node of tokens(tree(file))) {
    const around = [
      ...(ts.getLeadingCommentRanges(file.text, node.getFullStart()) ?? []),
      ...(ts.getTrailingCommentRanges(file.text, node.getEnd()) ?? []),
    ];
    for (const range of around) ranges.set(range.pos, range);
  }
  return [...ranges.values()]
    .sort((a, b) => a.pos - b.pos)
    .map(({ pos, end }) => ({ text: file.text.slice(pos, end), line: lineAt(file.text, pos) }));
}

function* tokens(node: ts.Node): Generator<ts.Node> {
  const children = node.getChildren();
  if (children.length === 0 && !ts.isJSDoc(node)) yield node;
  for (const child of children) if (!ts.isJSDoc(child)) yield* tokens(child);
}

export function lineOf(file: TextFile, node: ts.Node): number {
  return lineAt(file.text, node.getStart(tree(file)));
}

function lineAt(text: string, position: number): number {
  return text.slice(0, position).split('\n').length;
}
