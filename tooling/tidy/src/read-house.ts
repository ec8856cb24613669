import { readdirSync, readFileSync } from 'node:fs';
import { extname, join, relative, sep } from 'node:path';
import { type House, houseOf, type TextFile } from './house.ts';

const skippedFolders = new Set(['.git', '.turbo', 'coverage', 'dist', 'node_modules']);
const skippedFiles = new Set(['pnpm-lock.yaml']);
const textExtensions = new Set(
  '.ts .mts .mjs .js .json .jsonc .md .yml .yaml .c .h .S .s .ld .sh .tsv .css .vue .html .svg .txt'.split(' '),
);
const textNames = new Set(['LICENSE', 'Makefile', 'run']);

/** Reads the text files of the repository at `root`, committed or not; build results and dependencies stay out. */
export function readHouse(root: string): House {
  return houseOf([...textFiles(root, root)].sort((a, b) => (a.path < b.path ? -1 : 1)));
}

function* textFiles(root: string, folder: string): Generator<TextFile> {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      if (!skippedFolders.has(entry.name) && !path.endsWith('.vitepress/cache')) yield* textFiles(root, path);
    } else if (entry.isFile() && isText(entry.name)) {
      yield { path: relative(root, path).split(sep).join('/'), text: readFileSync(path, 'utf8') };
    }
  }
}

function isText(name: string): boolean {
  return !skippedFiles.has(name) && (textNames.has(name) || textExtensions.has(extname(name)));
}
