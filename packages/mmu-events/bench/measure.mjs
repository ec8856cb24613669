/**
 * Nanoseconds for one call of `work(count)` that does `count` operations: the best of several rounds after a warm-up.
 * A shared machine only ever adds time, and drifts: compare figures of one run, as ratios.
 */
export function nanoseconds(work, { count = 100_000, rounds = 15 } = {}) {
  for (let i = 0; i < 3; i++) work(count);
  const samples = Array.from({ length: rounds }, () => {
    const start = performance.now();
    work(count);
    return ((performance.now() - start) * 1e6) / count;
  });
  return Math.min(...samples);
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

function format(ns) {
  if (ns < 1000) return `${ns.toFixed(1)} ns`;
  return ns < 1e6 ? `${(ns / 1e3).toFixed(1)} us` : `${(ns / 1e6).toFixed(2)} ms`;
}
