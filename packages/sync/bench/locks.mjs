// What an operation costs beside a plain call, and what watching it costs. Ratios of one run; build first.
import { drive, LockOrder, Mutex, RwLock, SpinLock, Srcu, setLockObserver } from '@nvmx/sync';
import { ratios } from './ratios.mjs';

const COUNT = 64;
const mutexes = Array.from({ length: COUNT }, (_, i) => new Mutex(`mutex ${i}`));
const spins = Array.from({ length: COUNT }, (_, i) => new SpinLock(`spin ${i}`));
const rws = Array.from({ length: COUNT }, (_, i) => new RwLock(`rw ${i}`));
const srcus = Array.from({ length: COUNT }, (_, i) => new Srcu(`srcu ${i}`));

const rows = {
  'SpinLock tryLock + unlock': (i) => tryAndUnlock(spins[i % COUNT]),
  'RwLock tryRead + endRead': (i) => tryReadAndEnd(rws[i % COUNT]),
  'Srcu enter + exit': (i) => enterAndExit(srcus[i % COUNT]),
  'drive(SpinLock.lock) + unlock': (i) => lockAndUnlock(spins[i % COUNT]),
  'drive(Mutex.lock) + unlock': (i) => lockAndUnlock(mutexes[i % COUNT]),
  'drive(RwLock.read) + endRead': (i) => readAndEnd(rws[i % COUNT]),
  'drive(Srcu.synchronize)': (i) => drive(srcus[i % COUNT].synchronize()),
  'drive(Mutex.lock) + unlock, LockOrder on': {
    on: () => setLockObserver(new LockOrder()),
    run: (i) => lockAndUnlock(mutexes[i % COUNT]),
  },
  'two locks nested, LockOrder on': {
    on: () => setLockObserver(new LockOrder()),
    run: (i) => nest(mutexes[i % COUNT], spins[i % COUNT]),
  },
};

ratios('sync', rows, { iterations: 300_000, after: () => setLockObserver(undefined) });

function tryAndUnlock(lock) {
  lock.tryLock();
  lock.unlock();
}

function tryReadAndEnd(lock) {
  lock.tryRead();
  lock.endRead();
}

function enterAndExit(srcu) {
  srcu.exit(srcu.enter());
}

function lockAndUnlock(lock) {
  drive(lock.lock());
  lock.unlock();
}

function readAndEnd(lock) {
  drive(lock.read());
  lock.endRead();
}

function nest(outer, inner) {
  drive(outer.lock());
  drive(inner.lock());
  inner.unlock();
  outer.unlock();
}
