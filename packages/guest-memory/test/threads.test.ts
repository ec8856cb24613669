import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { createManagedMemory, type HostMemory, type Pfn } from '../src/index.ts';
import { createUnmanagedMemory } from '../src/linux.ts';

const FLAG = (3 * 4096) / 4;

/** What the processor could be: another thread, which waits for a word in the physical view and answers in the next. */
const answering = `
  const { workerData, parentPort } = require('node:worker_threads');
  const words = new Int32Array(workerData);
  parentPort.postMessage('ready');
  Atomics.wait(words, ${FLAG}, 0);
  Atomics.store(words, ${FLAG} + 1, Atomics.load(words, ${FLAG}) + 1);
  Atomics.notify(words, ${FLAG} + 1);
`;

test.each<[string, () => HostMemory]>([
  ['managed', () => createManagedMemory({ guestFrames: 4, kernelFrames: 2, shared: true })],
  ['unmanaged', () => createUnmanagedMemory({ guestFrames: 4, kernelFrames: 2 })],
])('%s: a store through a mapping reaches another thread, and its answer comes back', async (_kind, create) => {
  const memory = create();
  const worker = new Worker(answering, { eval: true, workerData: memory.buffer });
  await once(worker, 'message');
  const { view } = memory.map(3 as Pfn);
  view.exchangeU32(0, 41);
  Atomics.notify(memory.i32, FLAG);
  await once(worker, 'exit');
  expect(view.u32(4)).toBe(42);
  memory.close();
});
