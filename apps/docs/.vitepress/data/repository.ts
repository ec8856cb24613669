import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The root of the repository. VitePress bundles this file where it is, so the URL of the bundle will do. */
const root = findRoot(fileURLToPath(new URL('.', import.meta.url)));

function findRoot(folder: string): string {
  return existsSync(join(folder, 'pnpm-workspace.yaml')) ? folder : findRoot(join(folder, '..'));
}

/** A text file of the repository by its path from the root. Throws when it is not there: a page needs its source. */
export function readText(path: string): string {
  return readFileSync(join(root, path), 'utf8');
}

/** A package as the site shows it; `layer` is 0 for what imports no sibling, else one more than the highest sibling. */
export interface HousePackage {
  readonly name: string;
  readonly folder: string;
  readonly description: string;
  readonly siblings: readonly string[];
  readonly layer: number;
}

interface Manifest {
  readonly name: string;
  readonly description: string;
  readonly private?: boolean;
  readonly dependencies?: Readonly<Record<string, string>>;
}

/** The published packages and the CLI, lowest layer first: read from their manifests, so that the picture cannot lie. */
export function housePackages(): readonly HousePackage[] {
  const manifests = new Map<string, Manifest & { folder: string }>();
  for (const folder of roomFolders()) {
    const manifest: Manifest = JSON.parse(readText(`${folder}/package.json`));
    manifests.set(manifest.name, { ...manifest, folder });
  }
  const siblingsOf = (name: string): string[] =>
    Object.keys(manifests.get(name)?.dependencies ?? {}).filter((other) => manifests.has(other));
  const layerOf = (name: string): number => Math.max(-1, ...siblingsOf(name).map(layerOf)) + 1;
  return [...manifests.values()]
    .map(({ name, folder, description }) => ({
      name: shortName(name),
      folder,
      description,
      siblings: siblingsOf(name).map(shortName),
      layer: layerOf(name),
    }))
    .sort((a, b) => a.layer - b.layer || a.name.localeCompare(b.name));
}

function roomFolders(): readonly string[] {
  const libraries = readdirSync(join(root, 'packages')).map((name) => `packages/${name}`);
  return [...libraries, 'apps/cli'].filter((folder) => existsSync(join(root, folder, 'package.json')));
}

function shortName(name: string): string {
  return name.replace('@nvmx/', '');
}

/** The decision records, oldest first: file name without its ending, and title. */
export function decisions(): readonly { readonly slug: string; readonly title: string }[] {
  return readdirSync(join(root, 'docs/decisions'))
    .filter((file) => /^\d{4}-.*\.md$/.test(file))
    .sort()
    .map((file) => ({ slug: file.replace(/\.md$/, ''), title: titleOf(readText(`docs/decisions/${file}`)) }));
}

function titleOf(markdown: string): string {
  return /^# (.+)$/m.exec(markdown)?.[1] ?? '';
}
