import { readFileSync } from 'node:fs';

/** The version of this package. Its package.json is one folder up, from source and build alike. */
export function version(): string {
  const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  return manifest.version;
}
