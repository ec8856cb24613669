import type { House, TextFile } from './house.ts';

/** One breach of one rule: where, and what to change. `line` counts from 1. */
export interface Violation {
  readonly path: string;
  readonly line?: number;
  readonly message: string;
}

/** One sentence of the house that a machine can check. `statement` is the title of its test. */
export interface Rule {
  readonly name: string;
  readonly statement: string;
  check(house: House): Iterable<Violation>;
}

/** A violation as one line that editors and terminals link: `path:line message`. */
export function violationText({ path, line, message }: Violation): string {
  return `${path}${line === undefined ? '' : `:${line}`} ${message}`;
}

/** A rule that looks at one line at a time: one violation for each match of `pattern` in the files that `applies` picks. */
export function lineRule(o: {
  readonly name: string;
  readonly statement: string;
  readonly pattern: RegExp;
  readonly message: (match: RegExpExecArray) => string;
  readonly applies: (file: TextFile) => boolean;
}): Rule {
  return {
    name: o.name,
    statement: o.statement,
    *check(house) {
      for (const file of house.files.filter(o.applies)) {
        for (const [index, line] of file.text.split('\n').entries()) {
          const match = o.pattern.exec(line);
          if (match !== null) yield { path: file.path, line: index + 1, message: o.message(match) };
        }
      }
    },
  };
}
