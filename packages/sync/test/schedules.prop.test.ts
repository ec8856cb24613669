import fc from 'fast-check';
import { afterEach, expect, test } from 'vitest';
import { drive, LockOrder, Mutex, type Op, point, RwLock, SpinLock, Srcu, setLockObserver } from '../src/index.ts';
import { oneSchedule } from './schedules.ts';

const inside = point('inside');
const parameters = { seed: 20_251_122, numRuns: 300 };
const schedule = fc.array(fc.nat(11), { minLength: 1, maxLength: 60 });

afterEach(() => setLockObserver(undefined));

type Action = 'read' | 'write' | 'tryRead' | 'tryWrite';
const actions = fc.array(fc.constantFrom<Action>('read', 'write', 'tryRead', 'tryWrite'), { maxLength: 5 });

test('RwLock: readers share, a writer is alone, nobody is stuck: any tasks, any schedule', () => {
  fc.assert(
    fc.property(fc.array(actions, { minLength: 1, maxLength: 4 }), schedule, (tasks, picks) => {
      const lock = new RwLock('rw');
      const state = { readers: 0, writers: 0 };
      expect(oneSchedule({ ops: tasks.map((task) => readAndWrite(lock, state, task)) }, picks)).toEqual([]);
      expect([lock.readers, lock.writing, lock.writersQueued]).toEqual([0, false, 0]);
    }),
    parameters,
  );
});

test('Srcu: synchronize() ends after each earlier section and needs no later one: any schedule', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(3), { minLength: 1, maxLength: 4 }), schedule, (readers, picks) => {
      const srcu = new Srcu('s');
      const open = new Set<number>();
      const ops = [...readers.map((sections) => readSections(srcu, open, sections)), synchronizer(srcu, open)];
      expect(oneSchedule({ ops }, picks)).toEqual([]);
      expect(srcu.readers).toBe(0);
    }),
    parameters,
  );
});

test('LockOrder: locks taken along one ranking are never a violation, and one step against it always is', () => {
  const ranks = fc.uniqueArray(fc.nat(7), { minLength: 2, maxLength: 6 });
  fc.assert(
    fc.property(fc.array(ranks, { minLength: 1, maxLength: 6 }), ranks, (chains, last) => {
      setLockObserver(new LockOrder());
      const locks = Array.from({ length: 8 }, (_, rank) => new Mutex(`rank ${rank}`));
      const ascending = (chain: readonly number[]) => [...chain].sort((a, b) => a - b);
      for (const chain of [...chains, last]) takeAll(ascending(chain).map((rank) => locks[rank]!));
      expect(() =>
        takeAll(
          ascending(last)
            .reverse()
            .map((rank) => locks[rank]!),
        ),
      ).toThrow('lock-order cycle');
    }),
    parameters,
  );
});

test('Mutex and SpinLock: held exactly between lock and unlock: any schedule of locks and tries', () => {
  fc.assert(
    fc.property(
      fc.array(fc.array(fc.boolean(), { maxLength: 5 }), { minLength: 1, maxLength: 4 }),
      schedule,
      (tasks, picks) => {
        for (const lock of [new Mutex('m'), new SpinLock('m')]) {
          const state = { inside: 0 };
          expect(oneSchedule({ ops: tasks.map((task) => lockAndTry(lock, state, task)) }, picks)).toEqual([]);
          expect(lock.held).toBe(false);
        }
      },
    ),
    parameters,
  );
});

function* readAndWrite(
  lock: RwLock,
  state: { readers: number; writers: number },
  actions: readonly Action[],
): Op<void> {
  for (const action of actions) {
    if (action === 'read') yield* lock.read();
    if (action === 'write') yield* lock.write();
    if (action === 'tryRead' && !lock.tryRead()) continue;
    if (action === 'tryWrite' && !lock.tryWrite()) continue;
    const writes = action === 'write' || action === 'tryWrite';
    expect(state.writers).toBe(0);
    if (writes) expect(state.readers).toBe(0);
    state[writes ? 'writers' : 'readers']++;
    yield inside;
    state[writes ? 'writers' : 'readers']--;
    if (writes) lock.endWrite();
    else lock.endRead();
  }
}

function* readSections(srcu: Srcu, open: Set<number>, sections: number): Op<void> {
  for (let i = 0; i < sections; i++) {
    const token = srcu.enter();
    open.add(token);
    yield inside;
    open.delete(token);
    srcu.exit(token);
    yield inside;
  }
}

function* synchronizer(srcu: Srcu, open: ReadonlySet<number>): Op<void> {
  for (let i = 0; i < 3; i++) {
    const before = new Set(open);
    const op = srcu.synchronize();
    for (let result = op.next(); !result.done; result = op.next()) {
      expect(result.value.ready!()).toBe([...before].every((token) => !open.has(token)));
      yield result.value;
    }
    expect([...before].filter((token) => open.has(token))).toEqual([]);
  }
}

function* lockAndTry(lock: Mutex | SpinLock, state: { inside: number }, tries: readonly boolean[]): Op<void> {
  for (const isTry of tries) {
    if (!isTry) yield* lock.lock();
    else if (!lock.tryLock()) continue;
    expect([lock.held, ++state.inside]).toEqual([true, 1]);
    yield inside;
    state.inside--;
    lock.unlock();
  }
}

function takeAll(locks: readonly Mutex[]): void {
  for (const lock of locks) drive(lock.lock());
  for (const lock of locks) lock.unlock();
}
