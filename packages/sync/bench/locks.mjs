// What an operation costs beside a plain call, and what watching it costs. Ratios of one run; build first.
import { drive, LockOrder, Mutex, RwLock, SpinLock, Srcu, setLockObserver } from '@nvmx/sync';
import { ratios } from './ratios.mjs';

const COUNT = 64;
const mutexes = Array.from({ length: COUNT }, (_, i) => new Mutex(`mutex ${i}`));
const spins = Array.from({ length: COUNT }, (_, i) => new SpinLock(`spin ${i}`));
const rws = Array.from({ length: COUNT }, (_, i) => new RwLock(`rw ${i}`));
const srcus = Array.from({ length: COUNT }, (_, i) => new Srcu(`srcu ${i}`));
const watched = {
  iterations: 200_000,
  on: () => setLockObserver(new LockOrder()),
  off: () => setLockObserver(undefined),
};

ratios('sync', {
  'SpinLock tryLock + unlock': { run: (i) => tryAndUnlock(spins[i % COUNT]) },
  'RwLock tryRead + endRead': { run: (i) => tryReadAndEnd(rws[i % COUNT]) },
  'Srcu enter + exit': { run: (i) => enterAndExit(srcus[i % COUNT]) },
  'drive(SpinLock.lock) + unlock': { run: (i) => lockAndUnlock(spins[i % COUNT]) },
  'drive(Mutex.lock) + unlock': { run: (i) => lockAndUnlock(mutexes[i % COUNT]) },
  'drive(RwLock.read) + endRead': { run: (i) => readAndEnd(rws[i % COUNT]) },
  'drive(Srcu.synchronize)': { run: (i) => synchronize(srcus[i % COUNT]) },
  'drive(Mutex.lock) + unlock, LockOrder on': { run: (i) => lockAndUnlock(mutexes[i % COUNT]), ...watched },
  'two locks nested': { run: (i) => nest(mutexes[i % COUNT], spins[i % COUNT]) },
  'two locks nested, LockOrder on': { run: (i) => nest(mutexes[i % COUNT], spins[i % COUNT]), ...watched },
});

function tryAndUnlock(lock) {
  const taken = lock.tryLock();
  lock.unlock();
  return taken ? 1 : 0;
}

function tryReadAndEnd(lock) {
  const taken = lock.tryRead();
  lock.endRead();
  return taken ? 1 : 0;
}

function enterAndExit(srcu) {
  const token = srcu.enter();
  srcu.exit(token);
  return token;
}

function lockAndUnlock(lock) {
  drive(lock.lock());
  lock.unlock();
  return 1;
}

function readAndEnd(lock) {
  drive(lock.read());
  lock.endRead();
  return 1;
}

function synchronize(srcu) {
  drive(srcu.synchronize());
  return 1;
}

function nest(outer, inner) {
  drive(outer.lock());
  drive(inner.lock());
  inner.unlock();
  outer.unlock();
  return 1;
}
