const ROUNDS = 9;

/**
 * Prints what each row costs as a ratio to the first. Rows take turns, so that drift of the machine hits all of them;
 * the median round counts. A row is `{ run, iterations, on, off }`: `run` gets the number of the iteration and returns a
 * number, `on` and `off` go around a round.
 */
export function ratios(title, rows) {
  const samples = new Map(Object.keys(rows).map((name) => [name, []]));
  for (let round = -1; round < ROUNDS; round++) {
    for (const [name, { run, iterations = 1_000_000, on, off }] of Object.entries(rows)) {
      on?.();
      const cost = time(run, iterations);
      off?.();
      if (round >= 0) samples.get(name).push(cost);
    }
  }
  const medians = [...samples].map(([name, costs]) => [name, costs.sort((a, b) => a - b)[ROUNDS >> 1]]);
  const first = medians[0][1];
  console.log(`${title}: cost as a ratio to the first row, and nanoseconds of this run`);
  for (const [name, cost] of medians) {
    console.log(`${(cost / first).toFixed(1).padStart(10)}  ${cost.toFixed(1).padStart(10)} ns  ${name}`);
  }
}

/** Nanoseconds for one call. The sum keeps the calls from being optimized away. */
function time(run, iterations) {
  let sum = 0;
  const started = performance.now();
  for (let i = 0; i < iterations; i++) sum = (sum + run(i)) | 0;
  const elapsed = performance.now() - started;
  if (sum === 0.5) throw new Error('unreachable');
  return (elapsed / iterations) * 1e6;
}
