import type { TextFile } from '../house.ts';
import { lineRule, type Rule } from '../rule.ts';
import { commentsOf, isSource } from '../syntax.ts';

/** The rules themselves spell out what they forbid. */
function isTidy(file: TextFile): boolean {
  return file.path.startsWith('tooling/tidy/');
}

/** A rule on the comments of source files, line by line. */
function commentRule(name: string, statement: string, pattern: RegExp): Rule {
  return {
    name,
    statement,
    *check(house) {
      for (const file of house.files.filter((candidate) => isSource(candidate) && !isTidy(candidate))) {
        for (const comment of commentsOf(file)) {
          for (const [index, line] of comment.text.split('\n').entries()) {
            const match = pattern.exec(line);
            if (match !== null) yield { path: file.path, line: comment.line + index, message: `"${match[0]}"` };
          }
        }
      }
    },
  };
}

const nothingLeftToDo = lineRule({
  name: 'no-todo',
  statement: 'nothing is left as a note to do it later',
  pattern: /\b(TODO|FIXME|XXX|HACK|TBD)\b/,
  message: (match) => match[0],
  applies: (file) => !isTidy(file),
});

const sdmByName = commentRule(
  'sdm-by-name',
  'the SDM is cited by volume and section name, never by number',
  /\b(?:SDM|section|chapter)\b[^\n]{0,40}?\b\d{1,2}\.\d{1,2}(?:\.\d+)*\b/i,
);

const noPronouns = commentRule(
  'no-pronouns',
  'comments speak of the code, not of its authors or readers',
  /(?<![-\w'"`.])(?:[Ww]e|[Oo]urs?|[Uu]s|[Yy]ou|[Yy]our|[Ll]et's|[Ww]e're|[Ww]e'll|I|I'm|[Mm]y)(?![-\w'"`./)])/,
);

const verbStems =
  'initial|serial|optim|recogn|synchron|normal|virtual|emphas|organ|minim|maxim|final|general|special|summar|util|' +
  'real|categor|standard|local|central|random|author|custom|character|material|canonical|stabil|visual|penal|parallel';

const americanSpelling = lineRule({
  name: 'american-spelling',
  statement: 'spelling is American',
  pattern: new RegExp(
    [
      '(?:behavi|col|fav|flav|hon|neighb|harb|lab)our(?!ce|se|ge|selves|self|s?ive)',
      `(?:${verbStems})is(?:e|ed|es|er|ers|ing|ation|ations|able)(?![a-z])`,
      '\\b(?:centre|centred|fibre|metre|licence|licenced|defence|offence|grey|whilst|programme|catalogue|artefact)s?\\b',
      '(?:analys|paralys)(?:e|ed|ing)\\b',
      '(?:cancel|label|model|signal|travel|marshal|channel|level|tunnel|fuel|dial)l(?:ed|ing|er)\\b',
    ].join('|'),
    'i',
  ),
  message: (match) => `"${match[0]}"`,
  applies: (file) => !isTidy(file) && !file.path.endsWith('LICENSE'),
});

export const wordRules: readonly Rule[] = [nothingLeftToDo, sdmByName, noPronouns, americanSpelling];
