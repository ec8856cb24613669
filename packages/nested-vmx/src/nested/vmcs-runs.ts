import { type FieldRow, fieldRows, type Vmcs } from '@nvmx/vmx-fields';

/** Half-open ranges of words in Vmcs.words, first and end by turns. */
export type WordRuns = readonly number[];

/** The words of all fields that `wanted` selects, as few runs as the table's order allows. */
export function runsOf(wanted: (row: FieldRow) => boolean): WordRuns {
  const runs: number[] = [];
  const rows = fieldRows.filter(wanted).sort((a, b) => a.word - b.word);
  for (const { word } of rows) {
    if (runs.length > 0 && runs[runs.length - 1] === word) runs[runs.length - 1] = word + 2;
    else runs.push(word, word + 2);
  }
  return runs;
}

/** Copies runs of fields from one VMCS to another. */
export function copyRuns(runs: WordRuns, o: { readonly from: Vmcs; readonly to: Vmcs }): void {
  const source = o.from.words;
  const target = o.to.words;
  for (let i = 0; i < runs.length; i += 2) {
    const end = runs[i + 1];
    for (let word = runs[i]; word < end; word++) target[word] = source[word];
  }
}
