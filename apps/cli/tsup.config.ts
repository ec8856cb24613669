import { cp } from 'node:fs/promises';
import { library } from '../../tooling/tsup.ts';

/** The guest images are part of the published command: `nvmx compare` needs no clone. */
async function copyImages(): Promise<void> {
  const isImage = (path: string): boolean => path.endsWith('/bin') || path.endsWith('.elf');
  await cp('../../guests/bin', 'dist/guests', { recursive: true, filter: isImage });
}

export default library(['src/index.ts', 'src/main.ts'], { platform: 'node', onSuccess: copyImages });
