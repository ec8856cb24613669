import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export const packageRoot: string = fileURLToPath(new URL('..', import.meta.url));

/** The rows of a table of the package, each by the names of the header. */
export function readTable(name: string): Record<string, string>[] {
  const text = readFileSync(`${packageRoot}/tables/${name}.tsv`, 'utf8');
  const [header, ...lines] = text.trimEnd().split('\n');
  const columns = header!.split('\t');
  return lines.map((line) => Object.fromEntries(line.split('\t').map((cell, index) => [columns[index]!, cell])));
}
