import { type Gpa, gpa, type HostMemory, PAGE_SIZE } from '@nvmx/guest-memory';
import { type HeldPage, HostAddressSpace, type PageBackend, VmMemory } from '@nvmx/mmu-events';
import { drive } from '@nvmx/sync';
import { type BackendName, backendFactory } from '../backends.ts';
import { median } from './statistics.ts';

const PAGES = 64;
const addresses: readonly Gpa[] = Array.from({ length: PAGES }, (_, index) => gpa(index * PAGE_SIZE));
/** Pairs of samples: many and short, so that the median leaves out those in which the host ran somebody else. */
const PAIRS = 101;
/** A sample shorter than this says more of the clock than of the pages. */
const SAMPLE_MS_MIN = 0.5;
const PASSES_MAX = 2 ** 16;

/** Frames that the measurement takes of its memory. */
export const PAGE_OPERATION_BYTES = 2 * PAGES * PAGE_SIZE;

/** One access of L0 to a page of L1, as either backend makes it. */
export interface PageOperation {
  readonly pages: number;
  /** Map, read four bytes, unmap: host-map. One sample a pair. */
  readonly mapSamplesNs: readonly number[];
  /** Check, read four bytes: pfncache. One sample a pair. */
  readonly checkSamplesNs: readonly number[];
  /** How many checked reads one mapped read costs: the median of the pairs. */
  readonly ratio: number;
}

/** An operation over all pages, so often that the clock can see it. */
interface Contender {
  readonly pass: () => number;
  readonly passes: number;
}

/**
 * Measures on the given memory, through the backends themselves, 64 pages in turn: one page alone would be measured in a
 * register. The two alternate, so that each ratio is of one moment.
 */
export function measurePageOperation(o: { readonly memory: HostMemory; readonly clock: () => number }): PageOperation {
  const vm = createVm(o.memory);
  const map = openPages(vm, 'host-map');
  const cache = openPages(vm, 'pfncache');
  for (const [index, page] of cache.pages.entries()) drive(page.hold(addresses[index]!));
  const contenders = [
    warmUp(() => mapPass(map.pages), o.clock),
    warmUp(() => cachePass(cache.pages), o.clock),
  ] as const;
  const samples = Array.from({ length: PAIRS }, () => contenders.map((one) => sample(one, o.clock)));
  for (const { backend } of [map, cache]) drive(backend.close());
  drive(vm.destroy());
  drive(vm.host.destroy());
  return {
    pages: PAGES,
    mapSamplesNs: samples.map(([mapNs]) => mapNs!),
    checkSamplesNs: samples.map(([, checkNs]) => checkNs!),
    ratio: median(samples.map(([mapNs, checkNs]) => mapNs! / checkNs!)),
  };
}

function createVm(memory: HostMemory): VmMemory {
  const host = new HostAddressSpace({ memory });
  const vm = new VmMemory({ host });
  const hva = host.mmap({ pages: PAGES });
  drive(vm.setMemoryRegion({ slot: 0, gpa: 0, bytes: PAGES * PAGE_SIZE, hva }));
  const word = new Uint8Array(4);
  for (let index = 0; index < PAGES; index++) {
    new DataView(word.buffer).setUint32(0, index, true);
    drive(vm.writeGuest(addresses[index]!, word));
  }
  return vm;
}

function openPages(vm: VmMemory, name: BackendName): { backend: PageBackend; pages: readonly HeldPage[] } {
  const backend = backendFactory(name)(vm);
  const request = { role: 'virtual-apic', vcpu: 0, access: 'write', usedByHardware: false } as const;
  return { backend, pages: Array.from({ length: PAGES }, () => backend.openPage(request)) };
}

function mapPass(pages: readonly HeldPage[]): number {
  let sum = 0;
  for (let index = 0; index < PAGES; index++) {
    const page = pages[index]!;
    drive(page.hold(addresses[index]!));
    page.beginUse();
    sum += page.view.u32(0);
    page.endUse();
    page.release({ dirty: false });
  }
  return sum;
}

/** beginUse() is lock and check; a page that fails it leaves a sum that sample() refuses. */
function cachePass(pages: readonly HeldPage[]): number {
  let sum = 0;
  for (let index = 0; index < PAGES; index++) {
    const page = pages[index]!;
    if (!page.beginUse()) continue;
    sum += page.view.u32(0);
    page.endUse();
  }
  return sum;
}

/** Code that was just compiled needs more passes to fill a sample than what ran first: so the second count counts. */
function warmUp(pass: () => number, clock: () => number): Contender {
  calibrate(pass, clock);
  return calibrate(pass, clock);
}

/** Finds how many passes fill a sample. */
function calibrate(pass: () => number, clock: () => number): Contender {
  for (let passes = 1; ; passes *= 2) {
    const contender = { pass, passes };
    const milliseconds = (sample(contender, clock) * passes * PAGES) / 1e6;
    if (milliseconds >= SAMPLE_MS_MIN || passes >= PASSES_MAX) return contender;
  }
}

/** Nanoseconds for one page. Throws Error when an operation read something else than its page. */
function sample({ pass, passes }: Contender, clock: () => number): number {
  const begin = clock();
  let sum = 0;
  for (let i = 0; i < passes; i++) sum += pass();
  const milliseconds = clock() - begin;
  if (sum !== (passes * PAGES * (PAGES - 1)) / 2) throw new Error('page operation: read another page');
  return (milliseconds * 1e6) / (passes * PAGES);
}
