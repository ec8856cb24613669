import { posix } from 'node:path';
import ts from 'typescript';
import { libraries, type Room, type TextFile } from '../house.ts';
import type { Rule } from '../rule.ts';
import { isSource, lineOf, tree } from '../syntax.ts';

/** The source files that `exports` names: index, linux, testing. */
function entries(room: Room): readonly TextFile[] {
  const paths = Object.values(room.manifest.exports ?? {}).map((target) => {
    const source = (target as Record<string, unknown> | null)?.['@nvmx/source'];
    return typeof source === 'string' ? posix.join(room.folder, source) : '';
  });
  return room.files.filter((file) => paths.includes(file.path));
}

const entriesListExports: Rule = {
  name: 'index-lists-exports',
  statement: 'an entry only lists its exports by name, and there is at least one',
  *check(house) {
    for (const room of libraries(house)) {
      for (const file of entries(room).filter((entry) => entry.path.endsWith('/index.ts'))) {
        const { statements } = tree(file);
        for (const statement of statements.filter((candidate) => namedExports(candidate) === undefined)) {
          yield { path: file.path, line: lineOf(file, statement), message: 'is no list of exports by name' };
        }
        if (!statements.some((statement) => (namedExports(statement)?.length ?? 0) > 0)) {
          yield { path: file.path, message: 'exports nothing: the package is not written yet' };
        }
      }
    }
  },
};

function namedExports(statement: ts.Statement): ts.NodeArray<ts.ExportSpecifier> | undefined {
  const clause = ts.isExportDeclaration(statement) ? statement.exportClause : undefined;
  return clause !== undefined && ts.isNamedExports(clause) ? clause.elements : undefined;
}

const noStarExports: Rule = {
  name: 'no-star-export',
  statement: 'nothing is exported by star',
  *check(house) {
    for (const file of house.files.filter(isSource)) {
      for (const statement of tree(file).statements) {
        const star =
          ts.isExportDeclaration(statement) &&
          (statement.exportClause === undefined || ts.isNamespaceExport(statement.exportClause));
        if (star) yield { path: file.path, line: lineOf(file, statement), message: 'export *' };
      }
    }
  },
};

const noDefaultExports: Rule = {
  name: 'no-default-export',
  statement: 'only configuration files have a default export',
  *check(house) {
    for (const file of house.files.filter((candidate) => isSource(candidate) && !isConfiguration(candidate.path))) {
      for (const statement of tree(file).statements) {
        const modifiers = ts.canHaveModifiers(statement) ? (ts.getModifiers(statement) ?? []) : [];
        if (ts.isExportAssignment(statement) || modifiers.some((one) => one.kind === ts.SyntaxKind.DefaultKeyword)) {
          yield { path: file.path, line: lineOf(file, statement), message: 'default export' };
        }
      }
    }
  },
};

/** Files whose reader is a tool that wants a default export. */
function isConfiguration(path: string): boolean {
  return /\.config\.m?ts$/.test(path) || path.includes('/.vitepress/') || /\.(data|paths)\.m?ts$/.test(path);
}

const exportsAreDocumented: Rule = {
  name: 'docstrings',
  statement: 'every export of an entry carries a docstring where it is declared',
  *check(house) {
    for (const room of libraries(house)) {
      for (const file of entries(room)) {
        for (const { declaration, name } of exportedDeclarations(room, file)) {
          if (declaration === undefined) {
            yield { path: file.path, message: `${name} is declared nowhere in the package` };
          } else if (!isDocumented(declaration.node)) {
            yield {
              path: declaration.file.path,
              line: lineOf(declaration.file, declaration.node),
              message: `${name} has no docstring`,
            };
          }
        }
      }
    }
  },
};

interface Declaration {
  readonly file: TextFile;
  readonly node: ts.Node;
}

/** What `file` exports: its own exported declarations, and those that it takes from other files of the room. */
function* exportedDeclarations(
  room: Room,
  file: TextFile,
): Generator<{ name: string; declaration: Declaration | undefined }> {
  for (const statement of tree(file).statements) {
    if (ts.isExportDeclaration(statement) && !fromSibling(statement)) {
      for (const element of namedExports(statement) ?? []) {
        const local = (element.propertyName ?? element.name).text;
        const target = origin(room, file, statement);
        yield { name: element.name.text, declaration: target && find(room, target, local) };
      }
    } else if (ts.canHaveModifiers(statement) && isExported(statement)) {
      for (const name of declaredNames(statement)) yield { name, declaration: { file, node: statement } };
    }
  }
}

function fromSibling(statement: ts.ExportDeclaration): boolean {
  const module = statement.moduleSpecifier;
  return module !== undefined && ts.isStringLiteral(module) && !module.text.startsWith('.');
}

/** The file that an import or export takes its names from: another one of the room, or itself for `export { a }`. */
function origin(room: Room, from: TextFile, statement: ts.Statement): TextFile | undefined {
  if (!ts.isExportDeclaration(statement) && !ts.isImportDeclaration(statement)) return undefined;
  const module = statement.moduleSpecifier;
  if (module === undefined) return from;
  const path = ts.isStringLiteral(module) ? posix.join(posix.dirname(from.path), module.text) : '';
  return room.files.find((file) => file.path === path);
}

/** The declaration of `name` in `file`, through re-exports and imports. The documented one, where a name has several. */
function find(room: Room, file: TextFile, name: string): Declaration | undefined {
  const { statements } = tree(file);
  const here = statements.filter((statement) => declaredNames(statement).includes(name));
  const node = here.find((statement) => isDocumented(statement)) ?? here[0];
  if (node !== undefined) return { file, node };
  for (const statement of statements) {
    const source = passesOn(statement, name);
    const target = source === undefined ? undefined : origin(room, file, statement);
    if (source === undefined || target === undefined || (target === file && source === name)) continue;
    const found = find(room, target, source);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The name that `name` has in the module it comes from, when this statement imports or re-exports it. */
function passesOn(statement: ts.Statement, name: string): string | undefined {
  const bindings = ts.isImportDeclaration(statement) ? statement.importClause?.namedBindings : undefined;
  const imports = bindings !== undefined && ts.isNamedImports(bindings) ? bindings.elements : [];
  const element = [...(namedExports(statement) ?? []), ...imports].find((one) => one.name.text === name);
  return element === undefined ? undefined : (element.propertyName ?? element.name).text;
}

function declaredNames(statement: ts.Statement): readonly string[] {
  if (ts.isVariableStatement(statement))
    return statement.declarationList.declarations.flatMap(({ name }) => bound(name));
  const named =
    ts.isFunctionDeclaration(statement) ||
    ts.isClassDeclaration(statement) ||
    ts.isInterfaceDeclaration(statement) ||
    ts.isTypeAliasDeclaration(statement) ||
    ts.isEnumDeclaration(statement);
  return named && statement.name !== undefined ? [statement.name.text] : [];
}

function bound(name: ts.BindingName): readonly string[] {
  if (ts.isIdentifier(name)) return [name.text];
  return name.elements.flatMap((element) => (ts.isBindingElement(element) ? bound(element.name) : []));
}

function isExported(statement: ts.HasModifiers): boolean {
  return ts.getModifiers(statement)?.some((one) => one.kind === ts.SyntaxKind.ExportKeyword) === true;
}

/** One docstring does for a block of constants: lines that follow each other with nothing between. */
function isDocumented(node: ts.Node): boolean {
  const own = ts.getJSDocCommentsAndTags(node).some((part) => ts.isJSDoc(part) && (part.comment?.length ?? 0) > 0);
  const above = own ? undefined : constantAbove(node);
  return own || (above !== undefined && isDocumented(above));
}

function constantAbove(node: ts.Node): ts.Node | undefined {
  if (!ts.isVariableStatement(node) || !ts.isSourceFile(node.parent)) return undefined;
  const above = node.parent.statements[node.parent.statements.indexOf(node) - 1];
  const between = above === undefined ? '' : node.parent.text.slice(above.getEnd(), node.getStart());
  return above !== undefined && ts.isVariableStatement(above) && between === '\n' ? above : undefined;
}

export const exportRules: readonly Rule[] = [entriesListExports, noStarExports, noDefaultExports, exportsAreDocumented];
