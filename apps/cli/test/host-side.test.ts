import { type Gfn, gpa, gpaToGfn, type HostMemory, PAGE_SIZE } from '@nvmx/guest-memory';
import { HostAddressSpace, VmMemory } from '@nvmx/mmu-events';
import { drive } from '@nvmx/sync';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { PAGES_COUNT, PAGES_GPA } from '../src/compare/compare-guest.ts';
import { NEIGHBOR_PAGES, Neighbor } from '../src/compare/neighbor.ts';
import { PageSlots } from '../src/compare/page-slots.ts';
import { createMemory } from '../src/memory-choice.ts';

let memory: HostMemory;
let host: HostAddressSpace;
let vm: VmMemory;

beforeEach(() => {
  memory = createMemory({ kind: 'managed' }, { guestBytes: 2 ** 20 });
  host = new HostAddressSpace({ memory });
  vm = new VmMemory({ host });
});

afterEach(() => memory.close());

describe('the regions behind the 16 pages', () => {
  const pages = Array.from({ length: PAGES_COUNT }, (_, index) => gpa(PAGES_GPA + index * PAGE_SIZE));
  const content = () => pages.map((page) => drive(readByte(page)));

  function* readByte(page: (typeof pages)[number]) {
    const target = new Uint8Array(1);
    yield* vm.readGuest(page, target);
    return target[0];
  }

  for (const change of ['move', 'recreate'] as const) {
    test(`${change}: other frames back every page, with the same content, time after time`, () => {
      const slots = new PageSlots({ host, vm });
      for (const [index, page] of pages.entries()) drive(vm.writeGuest(page, Uint8Array.of(index + 1)));
      for (let turn = 0; turn < 5; turn++) {
        const before = pages.map((page) => vm.currentPfn(gpaToGfn(page)));
        slots[change]();
        const after = pages.map((page) => vm.currentPfn(gpaToGfn(page)));
        expect(after.some((pfn, index) => pfn === before[index] || pfn === undefined)).toBe(false);
        expect(content()).toEqual(pages.map((_, index) => index + 1));
      }
    });

    test(`${change}: no invalidation happens, and the generation grows`, () => {
      const slots = new PageSlots({ host, vm });
      const { sequence } = vm.notifier;
      const { generation } = vm.memslots;
      slots[change]();
      expect(vm.notifier.sequence).toBe(sequence);
      expect(vm.memslots.generation).toBeGreaterThan(generation);
    });
  }

  test('the host address of a page follows the slot', () => {
    const slots = new PageSlots({ host, vm });
    for (const change of ['move', 'recreate', 'recreate', 'move'] as const) {
      slots[change]();
      const gfn = (gpaToGfn(gpa(PAGES_GPA)) + 3) as Gfn;
      expect(slots.hvaOf(3)).toBe(vm.gfnToHva(gfn, { write: true }));
    }
  });
});

describe('the neighbor', () => {
  test('gets the frame that was freed last', () => {
    const neighbor = new Neighbor(host);
    const hva = host.mmap({ pages: 1 });
    const pfn = drive(host.fault(hva, { write: true }));
    drive(host.discard({ start: hva, end: (hva + PAGE_SIZE) as typeof hva }));
    neighbor.takeFreedFrame();
    memory.u8[pfn * PAGE_SIZE + 5]! ^= 1;
    neighbor.leave();
    expect(neighbor.corruptedPages).toBe(1);
  });

  test('counts nothing when nobody touches its frames', () => {
    const neighbor = new Neighbor(host);
    for (let i = 0; i < 3 * NEIGHBOR_PAGES; i++) neighbor.takeFreedFrame();
    neighbor.leave();
    expect(neighbor.corruptedPages).toBe(0);
  });

  test('keeps a bounded number of frames', () => {
    const neighbor = new Neighbor(host);
    const before = memory.frames.liveCount('guest');
    for (let i = 0; i < 3 * NEIGHBOR_PAGES; i++) neighbor.takeFreedFrame();
    expect(memory.frames.liveCount('guest') - before).toBe(NEIGHBOR_PAGES);
    neighbor.leave();
    expect(memory.frames.liveCount('guest')).toBe(before);
  });
});
