import { existsSync, readFileSync } from 'node:fs';

/** Beside the built command, or, when it runs from source, where the images are built. */
const folders: readonly URL[] = [
  new URL('./guests/', import.meta.url),
  new URL('../../../guests/bin/', import.meta.url),
];

/** A guest image that ships with the command. Throws Error when the installation lacks it. */
export function readBundledImage(name: string): Uint8Array {
  const found = folders.map((folder) => new URL(`${name}.elf`, folder)).find((url) => existsSync(url));
  if (found === undefined) throw new Error(`the guest image ${name}.elf is missing: the installation is not complete`);
  return readFileSync(found);
}
