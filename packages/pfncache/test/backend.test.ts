import { type Gpa, PAGE_SIZE } from '@nvmx/guest-memory';
import type { HeldPage, PageBackend, PageRequest, VmMemory } from '@nvmx/mmu-events';
import { atomicBegin, atomicEnd, drive, LockOrder, setLockObserver } from '@nvmx/sync';
import { afterEach, describe, expect, test } from 'vitest';
import { createPfncacheBackend, PfncacheBackend, PfncachePage } from '../src/index.ts';
import { Task } from './support/task.ts';
import { at, nowhere, slotGpa, World } from './support/world.ts';

const request: PageRequest = { role: 'virtual-apic', vcpu: 3, access: 'write', usedByHardware: true };
const pageB = at(slotGpa, PAGE_SIZE);

afterEach(() => setLockObserver(undefined));

function open(backend: PageBackend, o: Partial<PageRequest> = {}): PfncachePage {
  return backend.openPage({ ...request, ...o }) as PfncachePage;
}

describe('the backend', () => {
  test('gives every page a cache of its own, for the access and the vCPU of the request', () => {
    const world = new World();
    const backend = createPfncacheBackend(world.vm);
    const [first, second] = [open(backend), open(backend, { access: 'read', usedByHardware: false })];
    expect(first.cache).not.toBe(second.cache);
    expect(first.cache).toMatchObject({ access: 'write', vcpu: 3 });
    expect(second.cache).toMatchObject({ access: 'read', vcpu: 'none' });
    expect(first.cache.statistics).toBe(backend.statistics);
    world.finish();
  });

  test('a page that was closed by deactivate() is forgotten: the notifier has nothing to walk', () => {
    const world = new World();
    const backend = createPfncacheBackend(world.vm);
    const page = open(backend);
    drive(page.hold(slotGpa));
    expect(page.cache.listed).toBe(true);
    drive(page.deactivate());
    expect(page.cache.listed).toBe(false);
    world.finish();
  });

  test('a failed hold leaves no active cache behind', () => {
    const world = new World();
    const backend = createPfncacheBackend(world.vm);
    const page = open(backend);
    drive(page.hold(slotGpa));
    expect(drive(page.hold(nowhere))).toEqual({ ok: false, code: 'EFAULT' });
    expect(page.cache).toMatchObject({ active: false, listed: false });
    expect(backend.statistics).toMatchObject({ maps: 1, unmaps: 1 });
    world.finish();
  });

  test('a hold that close() overtakes ends with EIO and leaves nothing', () => {
    const world = new World();
    const backend = createPfncacheBackend(world.vm);
    const page = open(backend);
    const hold = new Task(page.hold(slotGpa)).to('gpc.refresh: map');
    const close = new Task(backend.close());
    expect(close.blocks()).toBe(true);
    expect(hold.finish()).toEqual({ ok: false, code: 'EIO' });
    close.finish();
    expect(page.gpa).toBeUndefined();
    expect(page.beginUse()).toBe(false);
    world.finish(page.cache);
  });

  test('a hit sleeps nowhere: tryHold, beginUse, endUse, isCurrent and release run with preemption off', () => {
    setLockObserver(new LockOrder());
    const world = new World();
    const backend = createPfncacheBackend(world.vm);
    const page = open(backend);
    drive(page.hold(slotGpa));
    atomicBegin('preemption off');
    expect(page.tryHold(slotGpa)).toBe(true);
    expect(page.beginUse()).toBe(true);
    page.endUse({ wrote: true });
    expect(page.isCurrent(page.stamp())).toBe(true);
    page.release({ dirty: true });
    expect(() => drive(page.hold(pageB))).toThrow('may sleep');
    atomicEnd();
  });

  test('hold() of what is held is a hit: no refresh', () => {
    const world = new World();
    const backend = createPfncacheBackend(world.vm);
    const page = open(backend);
    drive(page.hold(slotGpa));
    const { refreshes } = backend.statistics;
    for (let i = 0; i < 3; i++) drive(page.hold(slotGpa));
    expect(backend.statistics.refreshes).toBe(refreshes);
    drive(backend.close());
    world.finish();
  });

  test('another offset in the held page is settled without resolving it again, and keeps the stamp', () => {
    const world = new World();
    const backend = createPfncacheBackend(world.vm);
    const page = open(backend);
    drive(page.hold(slotGpa));
    const stamp = page.stamp();
    expect(page.tryHold(at(slotGpa, 0x80))).toBe(false);
    expect(drive(page.hold(at(slotGpa, 0x80)))).toEqual({ ok: true });
    expect(page.gpa).toBe(at(slotGpa, 0x80));
    expect(page.stamp()).toBe(stamp);
    expect(backend.statistics.maps).toBe(1);
    drive(backend.close());
    world.finish();
  });

  test('emits what the caches do to the trace sink', () => {
    const world = new World();
    const names: string[] = [];
    const backend = createPfncacheBackend(world.vm, { trace: (event) => names.push(event.name) });
    const page = open(backend);
    drive(page.hold(slotGpa));
    drive(world.host.migrate(world.slotHva));
    drive(page.hold(nowhere));
    expect(names).toEqual(['kvm_gpc_refresh', 'kvm_gpc_invalidate', 'kvm_gpc_refresh', 'kvm_gpc_deactivate']);
    world.finish();
  });
});

describe('one owner', () => {
  class ForgetsTheGpa extends PfncachePage {
    protected override comparesGpa(): boolean {
      return true;
    }
  }

  class ForgetfulBackend extends PfncacheBackend {
    protected override createPage(o: ConstructorParameters<typeof PfncachePage>[0]): PfncachePage {
      return new ForgetsTheGpa(o);
    }
  }

  /** GPC-22: the guest names another page, and what it sees is the old one. */
  function wrongPage(create: (vm: VmMemory) => PageBackend): boolean {
    const world = new World();
    const page = create(world.vm).openPage(request);
    hold(page, slotGpa);
    hold(page, pageB);
    return page.pfn !== world.pfnOf(pageB);
  }

  function hold(page: HeldPage, gpa: Gpa): void {
    if (!page.tryHold(gpa)) drive(page.hold(gpa));
  }

  test('a hit compares the address (GPC-22)', () => {
    expect(wrongPage((vm) => createPfncacheBackend(vm))).toBe(false);
  });

  test('a page that does not is found out', () => {
    expect(wrongPage((vm) => new ForgetfulBackend(vm))).toBe(true);
  });
});
