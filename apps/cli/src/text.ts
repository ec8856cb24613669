/** As wide as the narrowest terminal that people use. */
export const COLUMNS = 80;

/** Breaks a text between words; a word that is too long stays whole. */
export function wrap(text: string, columns = COLUMNS): string {
  const lines = [''];
  for (const word of text.split(' ')) {
    const line = lines.at(-1)!;
    if (line === '') lines[lines.length - 1] = word;
    else if (line.length + 1 + word.length <= columns) lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(word);
  }
  return lines.join('\n');
}

/** Breaks a text between words, and sets it off: the first line by `indent`, the others by two more. */
export function wrapIndented(text: string, indent: string): string {
  const [first = '', ...rest] = wrap(text, COLUMNS - indent.length - 2).split('\n');
  return [`${indent}${first}`, ...rest.map((line) => `${indent}  ${line}`)].join('\n');
}
