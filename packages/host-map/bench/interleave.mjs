/**
 * Times each row once a turn, so that drift of the machine hits all of them. A row is a function that goes `rounds` times
 * over `operations` operations and returns a number that depends on all of them. Gives the median nanoseconds of one.
 */
export function interleave(rows, { samples, operations }) {
  const costs = new Map(Object.keys(rows).map((name) => [name, []]));
  let sink = 0;
  for (let turn = -WARM_UP; turn < samples; turn++) {
    for (const [name, { rounds, run }] of Object.entries(rows)) {
      const started = performance.now();
      sink += run(rounds);
      const cost = ((performance.now() - started) / (rounds * operations)) * 1e6;
      if (turn >= 0) costs.get(name).push(cost);
    }
  }
  if (Number.isNaN(sink)) throw new Error('the rows computed nothing');
  return new Map([...costs].map(([name, list]) => [name, list.sort((a, b) => a - b)[samples >> 1]]));
}

const WARM_UP = 20;
