import type { Arguments } from '../arguments.ts';
import { backendNames } from '../backends.ts';
import type { Command, CommandSyntax } from '../command.ts';
import { buildReport } from '../compare/build-report.ts';
import { COMPARE_BYTES, type MeasurePlan, measure } from '../compare/measure.ts';
import type { CompareReport } from '../compare/report.ts';
import { renderTable } from '../compare/table.ts';
import { type Environment, say } from '../environment.ts';
import { UsageError } from '../errors.ts';
import { exitCode } from '../exit-codes.ts';
import { readBundledImage } from '../guest-images.ts';
import { createMemory, type MemoryChoice, memoryChoice } from '../memory-choice.ts';
import { parseBackends, parseCount } from '../values.ts';

const ROUNDS_DEFAULT = 9;
const ROUND_TRIPS_DEFAULT = 4000;
const WARM_UP_ROUNDS_MAX = 3;
const STORM_ITERATIONS = 512;
const SEED = 1;

const syntax: CommandSyntax = {
  name: 'compare',
  summary: 'Run one L1 and its L2 over each backend: what the handling of pages costs, and whether it is right.',
  operands: [],
  options: [
    {
      name: 'memory',
      value: 'KIND',
      help:
        'managed; unmanaged (a memfd); or the path of a FILE of at least ' +
        `${Math.ceil(COMPARE_BYTES / 2 ** 20)} MiB, whose content is lost. Unmanaged where the host can, unless said otherwise.`,
    },
    { name: 'backend', value: 'NAMES', help: `With commas between: ${backendNames.join(',')} unless said otherwise.` },
    { name: 'json', help: 'Print one JSON document on stdout, and nothing else there.' },
    { name: 'rounds', value: 'N', help: `Rounds of round trips; ${ROUNDS_DEFAULT} unless said otherwise.` },
    {
      name: 'round-trips',
      value: 'N',
      help: `Nested round trips in each round; ${ROUND_TRIPS_DEFAULT} unless said otherwise.`,
    },
  ],
  notes: [
    'A round trip is a VMCALL of L2, the exit to L1, its VMRESUME, and the entry into L2. Backends take turns within ' +
      'each round; times are medians, ratios are those of one run.',
    'In the storm the host discards, migrates and remaps the pages that L1 gave to the processor, while L2 runs. Every ' +
      'access of L0 or of the processor to such a page is compared with the frame that backs it at that moment. The ' +
      'exit code is 1 when pfncache reaches another frame, or when host-map does not: then the storm proves nothing.',
  ],
};

/** `nvmx compare`. */
export const compareCommand: Command = {
  syntax,
  async execute(given, environment) {
    const plan = comparePlan(given, environment);
    const report = buildReport(plan, measure(plan));
    print(report, { json: given.has('json'), environment });
    return report.passed ? exitCode.DONE : exitCode.CHECK_FAILED;
  },
};

function comparePlan(given: Arguments, environment: Environment): MeasurePlan {
  const rounds = count(given, 'rounds', { otherwise: ROUNDS_DEFAULT, max: 1000 });
  const plan = {
    backends: parseBackends('backend', given.text('backend') ?? backendNames.join(',')),
    rounds,
    roundTrips: count(given, 'round-trips', { otherwise: ROUND_TRIPS_DEFAULT, max: 1_000_000 }),
    warmUpRounds: Math.min(rounds, WARM_UP_ROUNDS_MAX),
    stormIterations: STORM_ITERATIONS,
    seed: SEED,
    clock: environment.clock,
    progress: (line: string) => say(environment, `compare: ${line}`),
  };
  return { ...plan, memory: chooseMemory(given.text('memory'), environment), image: readBundledImage('compare') };
}

function count(given: Arguments, option: string, o: { readonly otherwise: number; readonly max: number }): number {
  const text = given.text(option);
  return text === undefined ? o.otherwise : parseCount(option, text, { min: 1, max: o.max });
}

/** What was asked for, or unmanaged memory, or managed memory where there is no other. */
function chooseMemory(text: string | undefined, environment: Environment): MemoryChoice {
  if (text === '') throw new UsageError('--memory is empty: managed, unmanaged or a file');
  if (text !== undefined) return memoryChoice(text);
  try {
    createMemory({ kind: 'unmanaged' }, { guestBytes: COMPARE_BYTES }).close();
    return { kind: 'unmanaged' };
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    say(environment, `compare: on managed memory, since ${error.message}`);
    return { kind: 'managed' };
  }
}

/** With `json`, stdout gets the document and stderr the table; without it, stdout gets the table. */
function print(report: CompareReport, o: { readonly json: boolean; readonly environment: Environment }): void {
  const { stdout, stderr, variables } = o.environment;
  const people = o.json ? stderr : stdout;
  const color = people.isTTY === true && (variables.NO_COLOR ?? '') === '';
  people.write(renderTable(report, { color }));
  if (o.json) stdout.write(`${JSON.stringify(report, undefined, 2)}\n`);
}
