import { setImmediate } from 'node:timers/promises';
import { createMachine, type Machine } from '@nvmx/machine';
import { type Arguments, usageError } from '../arguments.ts';
import { type BackendName, backendFactory, backendNames } from '../backends.ts';
import type { Command, CommandSyntax } from '../command.ts';
import { type Environment, say } from '../environment.ts';
import { fromInput, UsageError } from '../errors.ts';
import { type ExitCode, exitCode } from '../exit-codes.ts';
import { describeEnd, type GuestEnd } from '../guest-end.ts';
import { createMemory } from '../memory-choice.ts';
import { imageName, readImage } from '../read-image.ts';
import { SerialOutput } from '../serial-output.ts';
import { parseBackend, parseSeconds, parseSize } from '../values.ts';

const MEMORY_DEFAULT = '64M';
const BACKEND_DEFAULT = 'pfncache';

const syntax: CommandSyntax = {
  name: 'run',
  summary: 'Run an L1 hypervisor: its serial output goes to stdout.',
  operands: ['IMAGE'],
  options: [
    { name: 'append', value: 'TEXT', help: 'The command line that the guest finds.' },
    { name: 'memory', value: 'SIZE', help: `Memory of the guest, 2M to 3G; ${MEMORY_DEFAULT} unless said otherwise.` },
    {
      name: 'backend',
      value: 'NAME',
      help: `How L0 reaches the pages of L1: ${backendNames.join(' or ')}; ${BACKEND_DEFAULT} unless said otherwise.`,
    },
    { name: 'timeout', value: 'SECONDS', help: 'Give up after this time; never unless said otherwise.' },
  ],
  notes: [
    'IMAGE is a static 64-bit ELF file for x86-64, loaded at 1 MiB or above and entered in 64-bit mode. It ends ' +
      'the run by a 32-bit write to port 0xf4: 0 is success, any other value a failure.',
  ],
};

interface RunOptions {
  readonly path: string;
  readonly commandLine: string;
  readonly memoryBytes: number;
  readonly backend: BackendName;
  readonly timeoutSeconds: number;
}

/** `nvmx run`. */
export const runCommand: Command = {
  syntax,
  async execute(given, environment) {
    const options = runOptions(given);
    const image = await readImage(options.path);
    const memory = createMemory({ kind: 'managed' }, { guestBytes: options.memoryBytes });
    try {
      return await runImage(image, memory, options, environment);
    } finally {
      memory.close();
    }
  },
};

function runOptions(given: Arguments): RunOptions {
  const timeout = given.text('timeout');
  const path = given.operands[0]!;
  if (path === '') throw usageError(syntax, 'IMAGE is empty');
  return {
    path,
    commandLine: given.text('append') ?? '',
    memoryBytes: memoryBytes(given.text('memory') ?? MEMORY_DEFAULT),
    backend: parseBackend('backend', given.text('backend') ?? BACKEND_DEFAULT),
    timeoutSeconds: timeout === undefined ? Number.POSITIVE_INFINITY : parseSeconds('timeout', timeout),
  };
}

/** The bounds are those of the machine; said here in the words of the option. */
function memoryBytes(text: string): number {
  const bytes = parseSize('memory', text);
  const fits = bytes >= 2 * 2 ** 20 && bytes <= 3 * 2 ** 30 && bytes % 4096 === 0;
  if (!fits) throw new UsageError(`--memory ${text} is not whole pages of 4096 bytes, from 2M to 3G`);
  return bytes;
}

async function runImage(
  image: Uint8Array,
  memory: ReturnType<typeof createMemory>,
  options: RunOptions,
  environment: Environment,
): Promise<ExitCode> {
  const serial = new SerialOutput(environment.stdout);
  const machine = createMachine({
    memory,
    memoryBytes: options.memoryBytes,
    createBackend: backendFactory(options.backend),
    onSerial: serial.put,
  });
  const name = imageName(options.path);
  loadImage(machine, { image, name, commandLine: options.commandLine });
  const end = await runToEnd(machine, { ...options, serial, clock: environment.clock });
  serial.end();
  const failure = describeEnd(end, machine, options);
  if (failure === undefined) return exitCode.DONE;
  say(environment, `${name}: ${failure}`);
  return exitCode.GUEST_FAILED;
}

function loadImage(machine: Machine, o: { image: Uint8Array; name: string; commandLine: string }): void {
  try {
    fromInput(() => machine.load(o.image, { commandLine: o.commandLine }));
  } catch (error) {
    if (error instanceof UsageError) throw new UsageError(`${o.name}: ${error.message}`, { cause: error });
    throw error;
  }
}

/** VM entries between two looks at the clock, and instructions in each at most: some ten milliseconds. */
const ENTRIES = 8;
const TICK_INSTRUCTIONS = 50_000;
/** How long the guest runs before streams and signals get their turn. */
const TURN_MS = 50;

async function runToEnd(
  machine: Machine,
  o: { readonly timeoutSeconds: number; readonly serial: SerialOutput; readonly clock: () => number },
): Promise<GuestEnd> {
  const deadline = o.clock() + o.timeoutSeconds * 1000;
  for (let turn = o.clock(); ; ) {
    const outcome = machine.run({ entriesMax: ENTRIES, tickInstructions: TICK_INSTRUCTIONS });
    if (outcome.kind !== 'budget') return outcome;
    const now = o.clock();
    if (now >= deadline) return { kind: 'timeout' };
    if (now - turn < TURN_MS) continue;
    turn = now;
    o.serial.flush();
    await setImmediate();
  }
}
