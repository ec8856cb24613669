// The nested round trip: L2 VMCALL, exit to L1, VMRESUME of L1, L2. Backends and memories in turns within one run, so that
// each ratio is of one moment; medians of rounds. Needs the build; without mmap only managed memory is measured.
import { readFileSync } from 'node:fs';
import { createManagedMemory, OperatingError } from '@nvmx/guest-memory';
import { createUnmanagedMemory } from '@nvmx/guest-memory/linux';
import { createHostMapBackend } from '@nvmx/host-map';
import { createMachine } from '@nvmx/machine';
import { createPfncacheBackend } from '@nvmx/pfncache';

const ROUNDS = 15;
const WARM_UP_ROUNDS = 2;
const ROUND_TRIPS = 20_000;
const MEMORY_BYTES = 16 * 2 ** 20;
const image = readFileSync(new URL('../dist/guests/compare.elf', import.meta.url));

const frames = { guestFrames: MEMORY_BYTES / 4096 + 64, kernelFrames: 1024 };
const memories = { managed: createManagedMemory, ...(mapsUnmanaged() ? { unmanaged: createUnmanagedMemory } : {}) };
const backends = { 'host-map': createHostMapBackend, pfncache: createPfncacheBackend };
const rows = Object.entries(memories).flatMap(([memory, createMemory]) =>
  Object.entries(backends).map(([backend, createBackend]) => ({
    memory,
    backend,
    createMemory,
    createBackend,
    us: [],
  })),
);

for (let round = 0; round < WARM_UP_ROUNDS + ROUNDS; round++) {
  const turn = [...rows.slice(round % rows.length), ...rows.slice(0, round % rows.length)];
  for (const row of turn) {
    const us = measure(row);
    if (round >= WARM_UP_ROUNDS) row.us.push(us);
  }
}

console.log(
  `nested round trips: medians of ${ROUNDS} rounds of ${ROUND_TRIPS}, four kinds of page in use at each entry`,
);
console.log('       us    per second');
for (const { memory, backend, us } of rows) {
  const time = median(us);
  console.log(
    `${time.toFixed(2).padStart(9)}${Math.round(1e6 / time)
      .toLocaleString('en-US')
      .padStart(14)}  ${backend} on ${memory} memory`,
  );
}
printRatio('pfncache, unmanaged : managed', ['unmanaged', 'pfncache'], ['managed', 'pfncache']);
printRatio('unmanaged, host-map : pfncache', ['unmanaged', 'host-map'], ['unmanaged', 'pfncache']);
printRatio('managed, host-map : pfncache', ['managed', 'host-map'], ['managed', 'pfncache']);

/** Microseconds of one round trip, between two markers of the guest. */
function measure({ createMemory, createBackend }) {
  const memory = createMemory(frames);
  const at = new Map();
  const machine = createMachine({
    memory,
    memoryBytes: MEMORY_BYTES,
    createBackend,
    onMarker: (marker, { milliseconds }) => at.set(marker, milliseconds),
  });
  machine.load(image, { commandLine: `round-trips=${ROUND_TRIPS} storm=0` });
  const outcome = machine.run();
  if (outcome.kind !== 'exit' || outcome.code !== 0) throw new Error(`the guest ended with ${JSON.stringify(outcome)}`);
  machine.destroy();
  memory.close();
  return ((at.get(2) - at.get(1)) * 1000) / ROUND_TRIPS;
}

function printRatio(name, above, below) {
  const find = ([memory, backend]) => rows.find((row) => row.memory === memory && row.backend === backend);
  const [a, b] = [find(above), find(below)];
  if (a === undefined || b === undefined) return;
  const ratios = a.us.map((us, round) => us / b.us[round]);
  console.log(`${median(ratios).toFixed(2).padStart(9)} : 1           ${name}`);
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

function mapsUnmanaged() {
  try {
    createUnmanagedMemory({ guestFrames: 1, windows: 1 }).close();
    return true;
  } catch (error) {
    if (!(error instanceof OperatingError)) throw error;
    console.log(`no unmanaged memory here: ${error.message}`);
    return false;
  }
}
