import ts from 'typescript';
import { fileInRoom, type House, libraries, type Room } from '../house.ts';
import type { Rule } from '../rule.ts';
import { tree } from '../syntax.ts';

const sections = ['Why', 'Install', 'Usage', 'API', 'Guarantees and limits', 'Relation to KVM'];

/** The README in parts: what stands above the first `##`, and the body below each. Marks inside code are no headings. */
interface Readme {
  readonly title: string;
  readonly lead: string;
  readonly bodies: ReadonlyMap<string, string>;
}

function readme(text: string): Readme {
  const bodies = new Map<string, string>();
  let title = '';
  let heading = '';
  let fenced = false;
  for (const line of text.split('\n')) {
    if (line.startsWith('```')) fenced = !fenced;
    const [, marks, words] = (fenced ? null : /^(##?) (.*?)\s*$/.exec(line)) ?? [];
    if (marks === '#') title = words ?? '';
    else if (marks === '##') heading = words ?? '';
    if (marks === undefined || marks === '##') {
      bodies.set(heading, `${bodies.get(heading) ?? ''}${marks === '##' ? '' : `${line}\n`}`);
    }
  }
  return { title, lead: (bodies.get('') ?? '').trim(), bodies };
}

const sectionsInOrder: Rule = {
  name: 'readme-sections',
  statement: `a README is its package's name, one sentence, then ${sections.join(', ')}: in this order, none empty`,
  *check(house) {
    for (const room of libraries(house)) {
      const file = fileInRoom(room, 'README.md');
      const path = `${room.folder}/README.md`;
      if (file === undefined) {
        yield { path, message: 'is missing' };
        continue;
      }
      const { title, lead, bodies } = readme(file.text);
      if (title !== room.manifest.name) yield { path, message: `the title is "${title}", not ${room.manifest.name}` };
      if (!/\w[\s\S]*[.:]/.test(lead)) yield { path, message: 'no sentence under the title' };
      const found = [...bodies.keys()].filter((heading) => sections.includes(heading));
      if (found.join() !== sections.join()) yield { path, message: `sections are: ${found.join(', ')}` };
      for (const heading of found.filter((name) => bodies.get(name)?.trim() === '')) {
        yield { path, message: `${heading} is empty` };
      }
    }
  },
};

/** The libraries that have a README: the rule on its sections reports those that have none. */
function described(house: House): readonly Room[] {
  return libraries(house).filter((room) => fileInRoom(room, 'README.md') !== undefined);
}

const usageIsCode: Rule = {
  name: 'readme-usage',
  statement: 'Usage shows a ts block that imports the package by its name',
  *check(house) {
    for (const room of described(house)) {
      const usage = readme(fileInRoom(room, 'README.md')?.text ?? '').bodies.get('Usage') ?? '';
      const code = /```ts\b[^\n]*\n([\s\S]*?)```/.exec(usage)?.[1] ?? '';
      if (!code.includes(`'${room.manifest.name}`)) {
        yield { path: `${room.folder}/README.md`, message: `no ts block under Usage imports ${room.manifest.name}` };
      }
    }
  },
};

const apiIsComplete: Rule = {
  name: 'readme-api',
  statement: 'API names every value that the package exports',
  *check(house) {
    for (const room of described(house)) {
      const api = readme(fileInRoom(room, 'README.md')?.text ?? '').bodies.get('API') ?? '';
      for (const name of exportedValues(room)) {
        if (!new RegExp(`(?<![\\w$])${name}(?![\\w$])`).test(api)) {
          yield { path: `${room.folder}/README.md`, message: `API does not name ${name}` };
        }
      }
    }
  },
};

/** The names, types left out, that src/index.ts exports from elsewhere. */
function exportedValues(room: Room): readonly string[] {
  const index = fileInRoom(room, 'src/index.ts');
  if (index === undefined) return [];
  return tree(index).statements.flatMap((statement) =>
    ts.isExportDeclaration(statement) &&
    !statement.isTypeOnly &&
    statement.exportClause !== undefined &&
    ts.isNamedExports(statement.exportClause)
      ? statement.exportClause.elements.filter((element) => !element.isTypeOnly).map((element) => element.name.text)
      : [],
  );
}

export const readmeRules: readonly Rule[] = [sectionsInOrder, usageIsCode, apiIsComplete];
