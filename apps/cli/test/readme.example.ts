import { exitCode, main } from '@nvmx/cli';

const lines: string[] = [];
const stream = { write: (chunk: string | Uint8Array) => lines.push(Buffer.from(chunk).toString()) };

const code = await main(['run', 'no-such-file.elf'], {
  stdout: stream,
  stderr: stream,
  clock: () => 0,
  variables: {},
});

console.log(code === exitCode.USAGE); // true
console.log(lines.join('').trim()); // nvmx: cannot read no-such-file.elf: no such file
