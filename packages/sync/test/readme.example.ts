import {
  DeadlockError,
  drive,
  LockOrder,
  Mutex,
  type Op,
  point,
  SpinLock,
  setLockObserver,
  WaitQueue,
} from '@nvmx/sync';

const slotsLock = new Mutex('slots_lock');
const mmuLock = new SpinLock('mmu_lock');
const idle = new WaitQueue('idle');
const beforePublish = point('before publish');
let updates = 0;

function* update(): Op<number> {
  yield* slotsLock.lock(); // may sleep
  yield beforePublish; // another task could run here
  yield* mmuLock.lock(); // spins: nothing may sleep until unlock()
  updates++;
  mmuLock.unlock();
  slotsLock.unlock();
  return updates;
}

setLockObserver(new LockOrder()); // throws where a lock rule is broken
console.log(drive(update())); // 1

try {
  drive(idle.wait(() => updates > 1)); // nobody is left to update
} catch (error) {
  console.log(error instanceof DeadlockError); // true
}
setLockObserver(undefined);
