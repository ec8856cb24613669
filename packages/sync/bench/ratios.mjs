const ROUNDS = 9;

/**
 * Prints what each row costs as a ratio to the first. Rows take turns, so that drift of the machine hits all of them;
 * the median round counts. A row is a function of the iteration, or `{ on, run }` with a preparation.
 */
export function ratios(title, rows, { iterations, after = () => {} }) {
  const samples = new Map(Object.keys(rows).map((name) => [name, []]));
  for (let round = -1; round < ROUNDS; round++) {
    for (const [name, row] of Object.entries(rows)) {
      row.on?.();
      const cost = time(row.run ?? row, iterations);
      after();
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

function time(run, iterations) {
  const started = performance.now();
  for (let i = 0; i < iterations; i++) run(i);
  return ((performance.now() - started) / iterations) * 1e6;
}
