import { readFileSync } from 'node:fs';
import { createManagedMemory } from '@nvmx/guest-memory';
import { createMachine } from '@nvmx/machine';
import { createPfncacheBackend } from '@nvmx/pfncache';

let text = '';
const machine = createMachine({
  memory: createManagedMemory({ guestFrames: 2048 }),
  memoryBytes: 8 * 1024 * 1024,
  createBackend: createPfncacheBackend,
  onSerial: (byte) => {
    text += String.fromCharCode(byte);
  },
});

// Any static ELF64 image that keeps the entry contract below; this one prints a line and exits with 0.
machine.load(readFileSync(new URL('../../../guests/bin/hello.elf', import.meta.url)), { commandLine: 'from=readme' });
const outcome = machine.run();

console.log(outcome.kind, outcome.kind === 'exit' ? outcome.code : ''); // exit 0
console.log(text.trim()); // hello from L1: 8 MiB of memory, command line "from=readme"
machine.destroy();
