import type { Hva } from '@nvmx/guest-memory';
import { drive, type Op } from '@nvmx/sync';
import { describe, expect, test } from 'vitest';
import type { HostAddressSpace, HvaRange, MmuNotifierListener, RangeEvent } from '../src/index.ts';
import {
  at,
  createWorld,
  exhaust,
  failure,
  pages,
  readByte,
  runToPoint,
  type World,
  writeByte,
} from './support/world.ts';

const BEFORE = 'host mm: before the pte change';

/** Records starts and ends, and the frame that the first page of the event has at that time. */
class Recorder implements MmuNotifierListener {
  readonly log: string[] = [];
  readonly #host: HostAddressSpace;

  constructor(host: HostAddressSpace) {
    this.#host = host;
  }

  *invalidateRangeStart(event: RangeEvent): Op<void> {
    this.#record('start', event);
  }

  *invalidateRangeEnd(event: RangeEvent): Op<void> {
    this.#record('end', event);
  }

  *release(): Op<void> {
    this.log.push('release');
  }

  #record(what: string, event: RangeEvent): void {
    const pfn = this.#host.translate(event.start);
    this.log.push(
      `${what} ${event.reason} ${event.mayBlock ? '' : 'nonblocking '}${pfn === undefined ? 'absent' : pfn}`,
    );
  }
}

function populated(): World & { recorder: Recorder } {
  const world = createWorld();
  for (let i = 0; i < 4; i++) writeByte(world, at(world.hva, i), i + 1);
  const recorder = new Recorder(world.host);
  world.host.subscribe(recorder);
  return { ...world, recorder };
}

describe('every event is bracketed by start and end, with the page-table change between', () => {
  const events: Record<string, { run(w: World): Op<unknown>; after: 'absent' | 'other' | 'same'; reason: string }> = {
    discard: { run: (w) => w.host.discard(pages(w.hva, 0)), after: 'absent', reason: 'discard' },
    reap: { run: (w) => w.host.reap(pages(w.hva, 0)), after: 'absent', reason: 'reap nonblocking' },
    munmap: { run: (w) => w.host.munmap(pages(w.hva, 0)), after: 'absent', reason: 'munmap' },
    migrate: { run: (w) => w.host.migrate(w.hva), after: 'other', reason: 'migrate' },
    protect: { run: (w) => w.host.protect(pages(w.hva, 0), { writable: false }), after: 'same', reason: 'protect' },
  };
  for (const [name, { run, after, reason }] of Object.entries(events)) {
    test(name, () => {
      const world = populated();
      const before = world.host.translate(world.hva);
      drive(run(world));
      const now = world.host.translate(world.hva);
      expect(now === undefined ? 'absent' : now === before ? 'same' : 'other').toBe(after);
      expect(world.recorder.log).toEqual([`start ${reason} ${before}`, `end ${reason} ${now ?? 'absent'}`]);
    });
  }

  test('merge: one event to write-protect each page, and one to replace the second', () => {
    const world = populated();
    writeByte(world, at(world.hva, 1), 1);
    const [keep, drop] = [world.host.translate(world.hva)!, world.host.translate(at(world.hva, 1))!];
    drive(world.host.merge({ keep: world.hva, drop: at(world.hva, 1) }));
    expect(world.recorder.log).toEqual([
      `start merge ${keep}`,
      `end merge ${keep}`,
      `start merge ${drop}`,
      `end merge ${drop}`,
      `start merge ${drop}`,
      `end merge ${keep}`,
    ]);
  });

  test('copy-on-write of a private page: one event for the fork, one for the copy', () => {
    const world = populated();
    const before = world.host.translate(world.hva)!;
    const after = drive(world.host.copyOnWrite(world.hva));
    expect(after).not.toBe(before);
    expect(world.recorder.log).toEqual([
      `start copy-on-write ${before}`,
      `end copy-on-write ${before}`,
      `start copy-on-write ${before}`,
      `end copy-on-write ${after}`,
    ]);
  });

  test('a fault that populates is no event', () => {
    const world = populated();
    writeByte(world, at(world.hva, 5), 1);
    expect(world.recorder.log).toEqual([]);
  });
});

describe('discard() and reap()', () => {
  test('drop the frames of the range and of no other page: zeros after', () => {
    const world = populated();
    drive(world.host.discard(pages(world.hva, 1, 2)));
    expect([0, 1, 2, 3].map((i) => readByte(world, at(world.hva, i)))).toEqual([1, 0, 0, 4]);
    drive(world.host.reap(pages(world.hva, 3)));
    expect(readByte(world, at(world.hva, 3))).toBe(0);
  });

  test('a freed frame is handed out again at once, under another birth', () => {
    const { host, memory, hva } = populated();
    const pfn = host.translate(hva)!;
    const birth = memory.frames.birth(pfn);
    drive(host.discard(pages(hva, 0)));
    expect(memory.frames.birth(pfn)).toBe(0);
    expect(drive(host.fault(at(hva, 6), { write: true }))).toBe(pfn);
    expect(memory.frames.birth(pfn)).not.toBe(birth);
  });

  test('discard() of a page without a mapping is ENOMEM and drops nothing; reap() and munmap() pass over it', () => {
    const world = populated();
    const range: HvaRange = { start: at(world.hva, -1), end: at(world.hva, 1) };
    expect(failure(() => world.host.discard(range))).toBe('ENOMEM');
    expect(readByte(world, world.hva)).toBe(1);
    drive(world.host.reap(range));
    expect(readByte(world, world.hva)).toBe(0);
    drive(world.host.munmap(range));
    expect(failure(() => world.host.read(world.hva, new Uint8Array(1)))).toBe('EFAULT');
    expect(readByte(world, at(world.hva, 1))).toBe(2);
  });

  test('a bad range is EINVAL, and no event', () => {
    const world = populated();
    const bad = { start: (world.hva + 1) as Hva, end: at(world.hva, 1) };
    for (const op of [
      () => world.host.discard(bad),
      () => world.host.reap(bad),
      () => world.host.munmap(bad),
      () => world.host.protect(bad, { writable: true }),
    ]) {
      expect(failure(op)).toBe('EINVAL');
    }
    expect(world.recorder.log).toEqual([]);
  });
});

describe('migrate()', () => {
  test('moves the bytes and the permission to a new frame, and frees the old one', () => {
    const { host, memory, hva } = populated();
    const old = host.translate(hva)!;
    const moved = drive(host.migrate(hva));
    expect(host.pte(hva)).toEqual({ pfn: moved, writable: true, cow: false });
    expect(memory.u8[moved * 4096]).toBe(1);
    expect(memory.frames.birth(old)).toBe(0);
  });

  test('a pinned page is EBUSY and stays; after the pin it moves', () => {
    const world = populated();
    const { host, memory, hva } = world;
    const pfn = host.translate(hva)!;
    memory.frames.pin(pfn);
    expect(failure(() => host.migrate(hva))).toBe('EBUSY');
    expect(host.translate(hva)).toBe(pfn);
    memory.frames.unpin(pfn);
    expect(drive(host.migrate(hva))).not.toBe(pfn);
  });

  test('a page that is pinned between start and change is EBUSY, and the new frame is given back', () => {
    const { host, memory, hva } = populated();
    const pfn = host.translate(hva)!;
    const live = memory.frames.liveCount('guest');
    const op = host.migrate(hva);
    expect(runToPoint(op, BEFORE)).toBe(true);
    memory.frames.pin(pfn);
    expect(failure(() => op)).toBe('EBUSY');
    expect(host.translate(hva)).toBe(pfn);
    memory.frames.unpin(pfn);
    expect(memory.frames.liveCount('guest')).toBe(live);
  });

  test('a page that changes between start and change is EAGAIN: discarded, or migrated by another', () => {
    const others: ((w: World) => Op<unknown>)[] = [
      (w) => w.host.discard(pages(w.hva, 0)),
      (w) => w.host.migrate(w.hva),
    ];
    for (const other of others) {
      const world = populated();
      const op = world.host.migrate(world.hva);
      expect(runToPoint(op, BEFORE)).toBe(true);
      drive(other(world));
      const [now, live] = [world.host.translate(world.hva), world.memory.frames.liveCount('guest')];
      expect(failure(() => op)).toBe('EAGAIN');
      expect(world.host.translate(world.hva)).toBe(now);
      expect(world.memory.frames.liveCount('guest')).toBe(live - 1);
    }
  });

  test('no frame behind the page: ENOENT; no mapping: EFAULT; no free frame: ENOMEM; a shared frame: EBUSY', () => {
    const world = populated();
    const { host, hva } = world;
    expect(failure(() => host.migrate(at(hva, 6)))).toBe('ENOENT');
    expect(failure(() => host.migrate(at(hva, -1)))).toBe('EFAULT');
    writeByte(world, at(hva, 1), 1);
    drive(host.merge({ keep: hva, drop: at(hva, 1) }));
    expect(failure(() => host.migrate(hva))).toBe('EBUSY');
    exhaust(world.memory);
    expect(failure(() => host.migrate(at(hva, 2)))).toBe('ENOMEM');
    expect(readByte(world, at(hva, 2))).toBe(3);
  });
});

describe('protect()', () => {
  test('takes write access away and gives it back, also before the page is populated', () => {
    const world = populated();
    for (const page of [0, 6]) {
      drive(world.host.protect(pages(world.hva, page), { writable: false }));
      expect(failure(() => world.host.write(at(world.hva, page), Uint8Array.of(9)))).toBe('EFAULT');
      drive(world.host.protect(pages(world.hva, page), { writable: true }));
      writeByte(world, at(world.hva, page), 9);
    }
  });

  test('does not make a shared page writable in place', () => {
    const world = populated();
    writeByte(world, at(world.hva, 1), 1);
    drive(world.host.merge({ keep: world.hva, drop: at(world.hva, 1) }));
    drive(world.host.protect(pages(world.hva, 0, 2), { writable: true }));
    writeByte(world, world.hva, 9);
    expect(readByte(world, at(world.hva, 1))).toBe(1);
  });

  test('a page without a mapping is ENOMEM', () => {
    const world = populated();
    expect(failure(() => world.host.protect(pages(world.hva, 7, 2), { writable: true }))).toBe('ENOMEM');
  });
});

describe('listeners', () => {
  test('one that subscribes during an event sees neither its start nor its end', () => {
    const { host, hva } = createWorld();
    const op = host.discard(pages(hva, 0));
    runToPoint(op, BEFORE);
    const late = new Recorder(host);
    host.subscribe(late);
    drive(op);
    expect(late.log).toEqual([]);
    drive(host.discard(pages(hva, 0)));
    expect(late.log).toHaveLength(2);
  });

  test('one that leaves during an event sees no end of it', () => {
    const { host, hva } = createWorld();
    const recorder = new Recorder(host);
    const unsubscribe = host.subscribe(recorder);
    const op = host.discard(pages(hva, 0));
    runToPoint(op, BEFORE);
    unsubscribe();
    drive(op);
    expect(recorder.log).toEqual(['start discard absent']);
  });

  test('synchronizeListeners() waits for a call under way, and for no later one', () => {
    const { host, hva } = createWorld();
    const event = host.discard(pages(hva, 0));
    event.next();
    const wait = host.synchronizeListeners();
    expect(wait.next().done).toBe(false);
    expect((wait.next().value as { ready(): boolean }).ready()).toBe(false);
    drive(event);
    drive(wait);
  });

  test('each is called once, all are called, and destroy() releases them', () => {
    const { host, hva } = createWorld();
    const recorders = [new Recorder(host), new Recorder(host)];
    for (const recorder of recorders) host.subscribe(recorder);
    expect(() => host.subscribe(recorders[0]!)).toThrow('subscribed already');
    drive(host.discard(pages(hva, 0)));
    drive(host.destroy());
    for (const { log } of recorders) expect(log).toEqual(['start discard absent', 'end discard absent', 'release']);
  });
});
