import type { HostMemory } from '@nvmx/guest-memory';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type BackendName, backendFactory, backendNames } from '../src/backends.ts';
import { COMPARE_BYTES } from '../src/compare/measure.ts';
import { runStorm } from '../src/compare/storm.ts';
import { readBundledImage } from '../src/guest-images.ts';
import { createMemory } from '../src/memory-choice.ts';

const image = readBundledImage('compare');
let memory: HostMemory;

beforeEach(() => {
  memory = createMemory({ kind: 'managed' }, { guestBytes: COMPARE_BYTES });
});

afterEach(() => memory.close());

const storm = (backend: BackendName, seed: number) => {
  memory.reset();
  return runStorm({ memory, createBackend: backendFactory(backend), image, iterations: 64, seed, clock: () => 0 });
};

describe('the storm', { timeout: 60_000 }, () => {
  test.each(backendNames)('%s: the same seed is the same run', (backend) => {
    expect(storm(backend, 7)).toEqual(storm(backend, 7));
  });

  test('another seed is another run', () => {
    expect(storm('host-map', 7)).not.toEqual(storm('host-map', 8));
  });

  test.each(backendNames)('%s: the guest makes all its iterations', (backend) => {
    expect(storm(backend, 1).guest.iterations).toBe(64);
  });

  test('after it nothing is held: every map has its unmap, and no frame is in use', () => {
    const { counters } = storm('host-map', 1);
    expect(counters.maps).toBe(counters.unmaps);
    expect(memory.liveMappings).toBe(0);
    expect(memory.frames.liveCount()).toBe(0);
  });
});
