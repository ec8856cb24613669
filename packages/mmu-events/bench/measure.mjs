/**
 * Nanoseconds of one operation, for each named piece of work: `work(count)` does `count` operations. The pieces take turns,
 * round by round, and the best round of each counts: a shared machine only ever adds time, and drifts. Compare ratios.
 */
export function race(pieces, { count = 100_000, rounds = 15 } = {}) {
  const best = pieces.map(() => Number.POSITIVE_INFINITY);
  for (let round = -2; round < rounds; round++) {
    for (const [i, [, work]] of pieces.entries()) {
      const start = performance.now();
      work(count);
      const nanoseconds = ((performance.now() - start) * 1e6) / count;
      if (round >= 0 && nanoseconds < best[i]) best[i] = nanoseconds;
    }
  }
  return pieces.map(([name], i) => [name, best[i]]);
}

/** Races calls of plain functions, one call an operation. */
export function raceCalls(pieces, options) {
  return race(
    pieces.map(([name, call]) => [name, loop(call)]),
    options,
  );
}

/** A loop of its own for each call, so that the engine does not mix their types. */
function loop(call) {
  return new Function('call', 'return (count) => { for (let i = 0; i < count; i++) call(i); };')(call);
}

/** A fixed sequence of numbers in [0, limit): the same in every run. */
export function sequence(length, limit, seed = 1) {
  let state = seed >>> 0;
  return Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  });
}

/** Prints one line of figures, with each as a ratio to the first. */
export function print(title, figures) {
  const [[, first]] = figures;
  console.log(title);
  for (const [name, value] of figures) {
    console.log(`  ${name.padEnd(44)} ${format(value).padStart(12)}   x ${(value / first).toFixed(2)}`);
  }
}

function format(nanoseconds) {
  if (nanoseconds < 1000) return `${nanoseconds.toFixed(1)} ns`;
  return nanoseconds < 1e6 ? `${(nanoseconds / 1e3).toFixed(1)} us` : `${(nanoseconds / 1e6).toFixed(2)} ms`;
}
