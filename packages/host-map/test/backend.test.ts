import { PAGE_SIZE } from '@nvmx/guest-memory';
import type { PageRequest } from '@nvmx/mmu-events';
import { drive } from '@nvmx/sync';
import { expect, test } from 'vitest';
import { createHostMapBackend, type HostMap, HostMapBackend, type HostMapOptions } from '../src/index.ts';
import { Task } from './support/task.ts';
import { at, loggedGpa, slotGpa, unmanagedMemory, World } from './support/world.ts';

const request: PageRequest = { role: 'virtual-apic', vcpu: 0, access: 'write', usedByHardware: true };

test('a page is mapped from hold() to release(), for each run of L2 anew', () => {
  const world = new World();
  const backend = createHostMapBackend(world.vm);
  const page = backend.openPage(request);
  for (let run = 1; run <= 3; run++) {
    drive(page.hold(slotGpa));
    expect(world.memory.liveMappings).toBe(1);
    page.release({ dirty: false });
    expect(world.memory.liveMappings).toBe(0);
    expect(backend.statistics).toMatchObject({ maps: run, unmaps: run });
  }
  world.finish();
});

test('a page that is moved or deactivated without a release counts as written', () => {
  const world = new World();
  const backend = createHostMapBackend(world.vm);
  const page = backend.openPage(request);
  drive(page.hold(loggedGpa));
  world.harvest();
  drive(page.hold(at(loggedGpa, PAGE_SIZE)));
  expect(world.harvest()).toContain(0);
  drive(page.deactivate());
  expect(world.harvest()).toEqual([1]);
  world.finish();
});

test('a use and a release do not overlap, and uses do not nest: programmer errors', () => {
  const world = new World();
  const backend = createHostMapBackend(world.vm);
  const page = backend.openPage(request);
  drive(page.hold(slotGpa));
  expect(page.beginUse()).toBe(true);
  expect(() => page.beginUse()).toThrow('nest');
  expect(() => page.release({ dirty: false })).toThrow('during a use');
  page.endUse();
  page.release({ dirty: false });
  world.finish();
});

test('a hold that close() overtakes ends with EIO and leaves nothing', () => {
  const world = new World();
  const backend = createHostMapBackend(world.vm);
  const page = backend.openPage(request);
  const hold = new Task(page.hold(slotGpa)).to('host-map: map');
  drive(backend.close());
  expect(hold.finish()).toEqual({ ok: false, code: 'EIO' });
  expect(page.beginUse()).toBe(false);
  expect(backend.statistics).toMatchObject({ maps: 1, unmaps: 1 });
  world.finish();
});

test('allowUnsafeMappings reaches every page', () => {
  const memory = unmanagedMemory();
  if (memory === undefined) return;
  const world = new World(memory);
  const backend = createHostMapBackend(world.vm, { allowUnsafeMappings: false });
  expect(drive(backend.openPage(request).hold(slotGpa))).toEqual({ ok: false, code: 'EINVAL' });
  drive(backend.close());
  world.finish();
});

test('a variant of the backend makes maps of its own', () => {
  const world = new World();
  const options: HostMapOptions[] = [];
  class Noting extends HostMapBackend {
    protected override createMap(o: HostMapOptions): HostMap {
      options.push(o);
      return super.createMap(o);
    }
  }
  const backend = new Noting(world.vm);
  backend.openPage(request);
  expect(options).toHaveLength(1);
  expect(options[0]!.statistics).toBe(backend.statistics);
  world.finish();
});
