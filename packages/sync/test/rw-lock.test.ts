import { afterEach, describe, expect, test } from 'vitest';
import { AssertionError, DeadlockError, drive, enterTask, type Op, point, RwLock } from '../src/index.ts';
import { everySchedule } from './schedules.ts';

const inside = point('inside');

afterEach(() => enterTask(0));

describe('RwLock', () => {
  test('readers share, and are counted', () => {
    const lock = new RwLock('rw');
    for (let readers = 1; readers <= 3; readers++) {
      drive(lock.read());
      expect([lock.readers, lock.writing]).toEqual([readers, false]);
    }
    for (let readers = 2; readers >= 0; readers--) {
      lock.endRead();
      expect(lock.readers).toBe(readers);
    }
  });

  test('a writer is alone', () => {
    const lock = new RwLock('rw');
    drive(lock.write());
    expect([lock.readers, lock.writing]).toEqual([0, true]);
    expect([lock.tryRead(), lock.tryWrite()]).toEqual([false, false]);
    expect(() => drive(lock.read())).toThrow('"read rw" is not ready');
    expect(() => drive(lock.write())).toThrow('"write rw (queued)" is not ready');
    lock.endWrite();
    expect(lock.writing).toBe(false);
  });

  test('tryRead() and tryWrite() take a free lock', () => {
    const lock = new RwLock('rw');
    expect(lock.tryRead()).toBe(true);
    expect(lock.tryRead()).toBe(true);
    expect(lock.tryWrite()).toBe(false);
    lock.endRead();
    lock.endRead();
    expect(lock.tryWrite()).toBe(true);
    lock.endWrite();
  });

  test('a free lock is entered after one yield, by a reader and by a writer', () => {
    const lock = new RwLock('rw');
    const read = lock.read();
    expect([read.next().done, read.next().done]).toEqual([false, true]);
    lock.endRead();
    const write = lock.write();
    expect([write.next().done, write.next().done]).toEqual([false, true]);
  });

  test('a queued writer keeps new readers and tries out, and is next', () => {
    const lock = new RwLock('rw');
    drive(lock.read());
    const writer = lock.write();
    writer.next();
    expect([lock.writersQueued, lock.tryRead()]).toEqual([0, true]);
    lock.endRead();
    expect(writer.next().value).toMatchObject({ name: 'write rw (queued)' });
    expect(lock.writersQueued).toBe(1);
    expect(lock.tryRead()).toBe(false);
    expect(() => drive(lock.read())).toThrow(DeadlockError);
    lock.endRead();
    expect(lock.tryWrite()).toBe(false);
    expect(writer.next().done).toBe(true);
    expect([lock.writing, lock.writersQueued]).toEqual([true, 0]);
    lock.endWrite();
    expect(lock.tryRead()).toBe(true);
  });

  test('a queued writer that is closed lets readers in again', () => {
    const lock = new RwLock('rw');
    drive(lock.read());
    const writer = lock.write();
    writer.next();
    writer.next();
    writer.return();
    expect([lock.writersQueued, lock.tryRead()]).toEqual([0, true]);
  });

  test('readers and a queued writer that are resumed too early wait on', () => {
    const lock = new RwLock('rw');
    lock.tryWrite();
    const [reader, writer] = [lock.read(), lock.write()];
    for (let i = 0; i < 3; i++) expect([reader.next().done, writer.next().done]).toEqual([false, false]);
    lock.endWrite();
    expect(reader.next().done).toBe(false);
    expect(writer.next().done).toBe(true);
    lock.endWrite();
    expect(reader.next().done).toBe(true);
  });

  test('endRead() without a reader is refused', () => {
    const lock = new RwLock('rw');
    expect(() => lock.endRead()).toThrow(AssertionError);
    lock.tryWrite();
    expect(() => lock.endRead()).toThrow('rw lock rw: endRead() while nobody reads');
  });

  test('endWrite() without a writer, and by another task, is refused', () => {
    const lock = new RwLock('rw');
    expect(() => lock.endWrite()).toThrow('rw lock rw: endWrite() by task 0, written by nobody');
    lock.tryRead();
    expect(() => lock.endWrite()).toThrow(AssertionError);
    lock.endRead();
    enterTask(1);
    lock.tryWrite();
    enterTask(2);
    expect(() => lock.endWrite()).toThrow('rw lock rw: endWrite() by task 2, written by task 1');
    expect(lock.writing).toBe(true);
  });

  test('a writer excludes everybody, in any schedule of two readers and two writers', () => {
    const { deadlocks } = everySchedule(() => {
      const lock = new RwLock('rw');
      const state = { readers: 0, writers: 0 };
      return { ops: [reader(lock, state), writer(lock, state), writer(lock, state)] };
    });
    expect(deadlocks).toEqual([]);
  });

  test('two readers are inside together in some schedule', () => {
    let most = 0;
    everySchedule(() => {
      const lock = new RwLock('rw');
      const ops = [1, 2].map(function* (): Op<void> {
        yield* lock.read();
        most = Math.max(most, lock.readers);
        yield inside;
        lock.endRead();
      });
      return { ops };
    });
    expect(most).toBe(2);
  });

  test('a task that reads twice deadlocks in some schedule, since a writer may queue in between', () => {
    const { deadlocks } = everySchedule(() => {
      const lock = new RwLock('rw');
      const twice = function* (): Op<void> {
        yield* lock.read();
        yield* lock.read();
        lock.endRead();
        lock.endRead();
      };
      return { ops: [twice(), writer(lock, { readers: 0, writers: 0 })] };
    });
    expect(deadlocks).toContainEqual(['read rw', 'write rw (queued)']);
  });
});

function* reader(lock: RwLock, state: { readers: number; writers: number }): Op<void> {
  yield* lock.read();
  state.readers++;
  yield inside;
  expect(state.writers).toBe(0);
  state.readers--;
  lock.endRead();
}

function* writer(lock: RwLock, state: { readers: number; writers: number }): Op<void> {
  yield* lock.write();
  state.writers++;
  yield inside;
  expect(state).toEqual({ readers: 0, writers: 1 });
  state.writers--;
  lock.endWrite();
}
