import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  atomicBegin,
  atomicEnd,
  drive,
  enterTask,
  LockOrder,
  LockOrderError,
  type LockViolation,
  Mutex,
  mightSleep,
  type Op,
  RwLock,
  SpinLock,
  Srcu,
  setLockObserver,
} from '../src/index.ts';
import { everySchedule } from './schedules.ts';

let order: LockOrder;
let found: LockViolation[];

/** Most tests let violations throw; `collect()` gathers them instead. */
beforeEach(() => {
  order = new LockOrder();
  setLockObserver(order);
});

afterEach(() => {
  setLockObserver(undefined);
  enterTask(0);
});

function collect(): void {
  found = [];
  order = new LockOrder({ onViolation: (violation) => found.push(violation) });
  setLockObserver(order);
}

/** Takes the locks in the given order and frees them in the opposite one. */
function nest(...locks: (Mutex | SpinLock)[]): void {
  for (const lock of locks) drive(lock.lock());
  for (const lock of locks.reverse()) lock.unlock();
}

describe('lock order', () => {
  test('one order, however often, is no violation', () => {
    const [a, b, c] = [new Mutex('a'), new Mutex('b'), new SpinLock('c')];
    for (let i = 0; i < 3; i++) nest(a, b, c);
    nest(a, c);
    expect(order.order()).toEqual(
      new Map([
        ['a', ['b', 'c']],
        ['b', ['c']],
      ]),
    );
  });

  test('two locks in both orders: found on one thread, with no deadlock', () => {
    const [a, b] = [new Mutex('a'), new Mutex('b')];
    nest(a, b);
    expect(() => nest(b, a)).toThrow(LockOrderError);
    order.forgetHeld();
    b.unlock();
    expect(() => nest(b, a)).toThrow('lock order: task 0 closes a lock-order cycle: b -> a -> b');
  });

  test('a cycle of three is found where it closes', () => {
    const [a, b, c] = [new Mutex('a'), new Mutex('b'), new Mutex('c')];
    nest(a, b);
    nest(b, c);
    expect(() => nest(c, a)).toThrow('c -> a -> b -> c');
  });

  test('a class that nothing leads back from is no cycle', () => {
    const [a, b, c, d] = [new Mutex('a'), new Mutex('b'), new Mutex('c'), new Mutex('d')];
    nest(a, b, c);
    nest(a, d, c);
    nest(b, d);
  });

  test('the pair is found across tasks', () => {
    collect();
    const [a, b] = [new Mutex('a'), new Mutex('b')];
    enterTask(1);
    nest(a, b);
    enterTask(2);
    nest(b, a);
    expect(found).toEqual([
      { kind: 'order', task: 2, names: ['b', 'a', 'b'], message: expect.stringContaining('task 2 closes') },
    ]);
  });

  test('what one task holds is not held by another', () => {
    const [a, b] = [new Mutex('a'), new Mutex('b')];
    enterTask(1);
    drive(a.lock());
    enterTask(2);
    drive(b.lock());
    expect([order.heldBy(1), order.heldBy(2), order.heldBy(3)]).toEqual([['a'], ['b'], []]);
    expect(order.order().size).toBe(0);
  });

  test('locks with one name are one class: order learned on one pair holds for another', () => {
    nest(new Mutex('a'), new Mutex('b'));
    expect(() => nest(new Mutex('b'), new Mutex('a'))).toThrow(LockOrderError);
  });

  test('a try awaits nothing, and what it took still counts as held', () => {
    const [a, b] = [new Mutex('a'), new Mutex('b')];
    nest(a, b);
    drive(b.lock());
    expect(a.tryLock()).toBe(true);
    a.unlock();
    b.unlock();
    const [c, d] = [new Mutex('c'), new Mutex('d')];
    nest(c, d);
    d.tryLock();
    expect(() => drive(c.lock())).toThrow('d -> c -> d');
  });

  test('locks freed in the order they were taken leave nothing behind', () => {
    const [a, b, c, d] = [new Mutex('a'), new Mutex('b'), new Mutex('c'), new Mutex('d')];
    drive(a.lock());
    drive(b.lock());
    a.unlock();
    nest(c);
    b.unlock();
    nest(d, a);
    expect(order.order().get('b')).toEqual(['c']);
    expect(order.heldBy(0)).toEqual([]);
  });

  test('a lock taken before observing began may be freed under it', () => {
    setLockObserver(undefined);
    const lock = new SpinLock('early');
    drive(lock.lock());
    setLockObserver(order);
    lock.unlock();
    mightSleep('later');
  });

  test('readers count as writers', () => {
    const [rw, m] = [new RwLock('rw'), new SpinLock('m')];
    drive(rw.read());
    nest(m);
    rw.endRead();
    drive(m.lock());
    expect(() => drive(rw.read())).toThrow('m -> rw -> m');
    expect(() => drive(rw.write())).toThrow('m -> rw -> m');
  });

  test('every schedule that gets by without the deadlock shows the cycle all the same', () => {
    const violations: number[] = [];
    const { deadlocks, schedules } = everySchedule(() => {
      collect();
      const [a, b] = [new Mutex('a'), new Mutex('b')];
      return { ops: [taskOf(a, b), taskOf(b, a)], atEnd: () => violations.push(found.length) };
    });
    expect(deadlocks.length).toBeGreaterThan(0);
    expect(violations).toHaveLength(schedules - deadlocks.length);
    expect(new Set(violations)).toEqual(new Set([1]));
  });
});

function* taskOf(first: Mutex, second: Mutex): Op<void> {
  yield* first.lock();
  yield* second.lock();
  second.unlock();
  first.unlock();
}

describe('recursion', () => {
  test.each([
    ['mutex', () => new Mutex('m')],
    ['spin lock', () => new SpinLock('m')],
  ])('a %s awaited by its holder', (_title, create) => {
    const lock = create();
    drive(lock.lock());
    expect(() => drive(lock.lock())).toThrow('lock order: task 0 awaits m, and holds a lock of that name');
  });

  test('another lock of the same name awaited by a holder', () => {
    drive(new Mutex('m').lock());
    expect(() => drive(new Mutex('m').lock())).toThrow(LockOrderError);
  });

  test('an rw lock read twice by one task', () => {
    const lock = new RwLock('rw');
    drive(lock.read());
    expect(() => drive(lock.read())).toThrow(LockOrderError);
  });

  test('SRCU sections may nest', () => {
    const srcu = new Srcu('s');
    const tokens = [srcu.enter(), srcu.enter()];
    for (const token of tokens) srcu.exit(token);
    expect(order.heldBy(0)).toEqual([]);
  });

  test('synchronize() inside its own section', () => {
    const srcu = new Srcu('s');
    srcu.enter();
    expect(() => drive(srcu.synchronize())).toThrow('task 0 awaits s, and holds a lock of that name');
  });
});

describe('SRCU', () => {
  test('a mutex around synchronize() and inside a section is a cycle', () => {
    const [srcu, mutex] = [new Srcu('s'), new Mutex('m')];
    drive(mutex.lock());
    drive(srcu.synchronize());
    mutex.unlock();
    srcu.enter();
    expect(() => drive(mutex.lock())).toThrow('s -> m -> s');
  });

  test('a section inside a mutex and a mutex inside a section alone are no cycle: entering awaits nothing', () => {
    const [srcu, mutex] = [new Srcu('s'), new Mutex('m')];
    const outer = srcu.enter();
    nest(mutex);
    srcu.exit(outer);
    drive(mutex.lock());
    srcu.exit(srcu.enter());
    mutex.unlock();
  });

  test('sleeping inside a section is allowed', () => {
    const srcu = new Srcu('s');
    const token = srcu.enter();
    mightSleep('copy from user');
    srcu.exit(token);
  });
});

describe('ends', () => {
  test('a task that ends with nothing held is fine', () => {
    nest(new Mutex('a'));
    order.taskEnds();
  });

  test('a task that ends with locks or an atomic section is a violation', () => {
    collect();
    drive(new Mutex('a').lock());
    atomicBegin('no blocking');
    order.taskEnds();
    expect(found).toMatchObject([{ kind: 'held', task: 0, names: ['a', 'no blocking'] }]);
  });

  test('forgetHeld() forgets who holds what and keeps the order', () => {
    const [a, b] = [new Mutex('a'), new Mutex('b')];
    nest(a, b);
    drive(new SpinLock('spin').lock());
    atomicBegin('section');
    order.forgetHeld();
    order.taskEnds();
    mightSleep('here');
    expect(() => nest(b, a)).toThrow('b -> a -> b');
  });
});

describe('off', () => {
  test('without an observer nothing is watched', () => {
    setLockObserver(undefined);
    const [a, b, spin] = [new Mutex('a'), new Mutex('b'), new SpinLock('spin')];
    nest(a, b);
    nest(b, a);
    drive(spin.lock());
    mightSleep('here');
    atomicBegin('section');
    atomicEnd();
    expect([...order.order()]).toEqual([]);
  });

  test('an observer with the three required methods is enough', () => {
    const events: string[] = [];
    setLockObserver({
      acquired: (lock, mode) => events.push(`acquired ${lock.kind} ${lock.name} ${mode}`),
      released: (lock, mode) => events.push(`released ${lock.kind} ${lock.name} ${mode}`),
      mightSleep: (name) => events.push(`sleep ${name}`),
    });
    const [rw, srcu] = [new RwLock('rw'), new Srcu('s')];
    nest(new Mutex('m'), new SpinLock('l'));
    drive(rw.read());
    rw.endRead();
    drive(rw.write());
    rw.endWrite();
    srcu.exit(srcu.enter());
    drive(srcu.synchronize());
    atomicBegin('section');
    atomicEnd();
    expect(events).toEqual([
      'sleep lock m',
      'acquired mutex m exclusive',
      'acquired spin l exclusive',
      'released spin l exclusive',
      'released mutex m exclusive',
      'acquired rw rw shared',
      'released rw rw shared',
      'acquired rw rw exclusive',
      'released rw rw exclusive',
      'acquired srcu s shared',
      'released srcu s shared',
      'sleep synchronize s',
    ]);
  });
});
