import {
  assert,
  type Gfn,
  type Gpa,
  gpaToGfn,
  type HostMemory,
  type Hpa,
  type Hva,
  PAGE_SIZE,
  type Pfn,
  pageOffset,
  type TraceSink,
} from '@nvmx/guest-memory';
import { type Op, point } from '@nvmx/sync';
import { forEachRun } from './dirty-log.ts';
import { hasCode, operatingError } from './errors.ts';
import type { HostAddressSpace } from './host-address-space.ts';
import type { Memslot } from './memslot.ts';
import { MemslotProtocol } from './memslot-protocol.ts';
import { USER_MEM_SLOTS } from './memslots.ts';

/** The sequence is read, the page is not resolved yet. Partner: N1 .. N6, which the retry rule must notice. */
const sequenceRead = point('page fault: sequence read');
/** A reader of the memslots has its slot in hand. Partner: M3, which publishes without it, and M4, which waits. */
const slotFound = point('memslots: slot found');

/**
 * How a guest frame was resolved, or why not. `ENOENT`: no memslot, or a write to a read-only one; emulate the access as
 * MMIO. `EFAULT`: the host has nothing there. `EAGAIN`: the slot is being deleted or moved, or an invalidation came
 * between; leave the SRCU section, let others run, and try again.
 */
export type GuestPage =
  | { readonly pfn: Pfn; readonly writable: boolean }
  | { readonly error: 'EFAULT' | 'ENOENT' | 'EAGAIN' };

/**
 * The memory half of `struct kvm`: memslots over a host address space, the notifier between them, copies to and from the
 * guest, and the dirty log. Listens to the address space from its creation until `destroy()`.
 */
export class VmMemory extends MemslotProtocol {
  readonly host: HostAddressSpace;
  readonly memory: HostMemory;
  readonly #unsubscribe: () => void;
  #alive = true;

  constructor(o: { host: HostAddressSpace; trace?: TraceSink | undefined }) {
    super(o);
    this.host = o.host;
    this.memory = o.host.memory;
    this.#unsubscribe = o.host.subscribe(this);
  }

  /** `gfn_to_hva()`: undefined without a slot, for an INVALID one, and for a write to a read-only one. */
  gfnToHva(gfn: Gfn, o: { write: boolean }): Hva | undefined {
    const slot = this.memslots.find(gfn);
    if (slot === undefined || slot.invalid || (o.write && slot.flags.readOnly)) return undefined;
    return slot.hvaOf(gfn);
  }

  /**
   * The frame of a guest frame right now: memslot and present page-table entry, no fault, no side effect. The oracle of
   * the stale-access audit.
   */
  currentPfn(gfn: Gfn): Pfn | undefined {
    const address = this.gfnToHva(gfn, { write: false });
    return address === undefined ? undefined : this.host.translate(address);
  }

  /**
   * `kvm_faultin_pfn()`: memslot, host address, GUP. May sleep. The frame is current when the operation returns; install
   * it under the mmu_lock after `notifier.retry()` with a sequence read before the call, all inside one SRCU section, or
   * use `pageFault()`, which does just that. A frame for writing is in the dirty log already; `writable` is false for a
   * read of a slot that logs, so that the first write is seen.
   *
   * @throws OperatingError ENOMEM when no frame is left.
   */
  *faultIn(gfn: Gfn, o: { write: boolean }): Op<GuestPage> {
    const token = this.srcu.enter();
    try {
      const slot = this.memslots.find(gfn);
      if (slot === undefined) return { error: 'ENOENT' };
      if (slot.invalid) return { error: 'EAGAIN' };
      if (o.write && slot.flags.readOnly) return { error: 'ENOENT' };
      yield slotFound;
      const address = slot.hvaOf(gfn);
      const pfn = yield* this.host.fault(address, o);
      if (o.write) this.markDirtyInSlot(slot, gfn);
      return { pfn, writable: this.mayMapWritable(slot, address, o) };
    } catch (error) {
      if (hasCode(error, 'EFAULT')) return { error: 'EFAULT' };
      throw error;
    } finally {
      this.srcu.exit(token);
    }
  }

  /**
   * A page fault of a secondary MMU from start to end: resolves the frame, takes the mmu_lock, checks that no invalidation
   * came between, marks the page dirty when it is mapped for writing, and calls `install` in the same step.
   *
   * @returns what was installed, or an error of faultIn(); `EAGAIN` when an invalidation came between.
   */
  *pageFault(gfn: Gfn, o: { write: boolean; install: (page: { pfn: Pfn; writable: boolean }) => void }): Op<GuestPage> {
    const token = this.srcu.enter();
    try {
      const { sequence } = this.notifier;
      yield sequenceRead;
      const page = yield* this.faultIn(gfn, o);
      if ('error' in page) return page;
      yield* this.mmuLock.write();
      try {
        if (this.mustRetryFault({ sequence, gfn })) return { error: 'EAGAIN' };
        if (page.writable) this.markDirty(gfn);
        o.install(page);
        return page;
      } finally {
        this.mmuLock.endWrite();
      }
    } finally {
      this.srcu.exit(token);
    }
  }

  /**
   * `kvm_read_guest()`: copies out of guest memory; may cross pages and slots, may sleep.
   *
   * @throws OperatingError EFAULT with the failing gpa; the pages before it are in `target` then. ENOMEM as faultIn().
   */
  *readGuest(gpa: Gpa, target: Uint8Array): Op<void> {
    for (let done = 0; done < target.length; ) {
      const at = (gpa + done) as Gpa;
      const count = Math.min(target.length - done, PAGE_SIZE - pageOffset(at));
      yield* this.#copyPage(at, { write: false }, (hpa) => this.memory.read(hpa, target.subarray(done, done + count)));
      done += count;
    }
  }

  /** `kvm_write_guest()`: copies into guest memory and marks the pages dirty in the same step. Errors as readGuest(). */
  *writeGuest(gpa: Gpa, source: Uint8Array): Op<void> {
    for (let done = 0; done < source.length; ) {
      const at = (gpa + done) as Gpa;
      const count = Math.min(source.length - done, PAGE_SIZE - pageOffset(at));
      yield* this.#copyPage(at, { write: true }, (hpa) => this.memory.write(hpa, source.subarray(done, done + count)));
      done += count;
    }
  }

  /**
   * `kvm_vcpu_read_guest_atomic()`: readGuest() in one step that never sleeps and never faults a page in. False when that
   * cannot be, and then `target` may hold a part: readGuest() does the rest, or tells why. For a few bytes it is
   * several times cheaper.
   */
  tryReadGuest(gpa: Gpa, target: Uint8Array): boolean {
    for (let done = 0; done < target.length; ) {
      const at = (gpa + done) as Gpa;
      const count = Math.min(target.length - done, PAGE_SIZE - pageOffset(at));
      const slot = this.memslots.find(gpaToGfn(at));
      const hpa = slot === undefined ? undefined : this.#presentHpa(slot, at, { write: false });
      if (hpa === undefined) return false;
      this.memory.read(hpa, count === target.length ? target : target.subarray(done, done + count));
      done += count;
    }
    return true;
  }

  /** writeGuest() in one step, as tryReadGuest(): false when a page is absent, or not writable in place. */
  tryWriteGuest(gpa: Gpa, source: Uint8Array): boolean {
    for (let done = 0; done < source.length; ) {
      const at = (gpa + done) as Gpa;
      const count = Math.min(source.length - done, PAGE_SIZE - pageOffset(at));
      const slot = this.memslots.find(gpaToGfn(at));
      const hpa = slot === undefined ? undefined : this.#presentHpa(slot, at, { write: true });
      if (slot === undefined || hpa === undefined) return false;
      this.memory.write(hpa, count === source.length ? source : source.subarray(done, done + count));
      this.markDirtyInSlot(slot, gpaToGfn(at));
      done += count;
    }
    return true;
  }

  /** `mark_page_dirty()`: records a write. Call it in the step, or under the lock, that allowed the write. */
  markDirty(gfn: Gfn): void {
    const slot = this.memslots.find(gfn);
    if (slot !== undefined) this.markDirtyInSlot(slot, gfn);
  }

  /** `mark_page_dirty_in_slot()`, for a caller that holds the slot under SRCU. Asserts that the slot was not freed (I6). */
  markDirtyInSlot(slot: Memslot, gfn: Gfn): void {
    assert(!slot.freed, `memslots: slot ${slot.id} is used after it was freed`);
    slot.dirtyLog?.mark(gfn - slot.baseGfn);
  }

  /**
   * KVM_GET_DIRTY_LOG: the pages written since the last harvest, one bit a page, whole 64-bit words. Clears the log and
   * takes write access to those pages from every secondary MMU, in one step.
   *
   * @throws OperatingError EINVAL for an id that no slot can have; ENOENT without such a slot, or when it does not log.
   */
  harvestDirty(slot: number): Uint8Array {
    if (!Number.isInteger(slot) || slot < 0 || slot >= USER_MEM_SLOTS) {
      throw operatingError('EINVAL', 'dirty log', 'is no slot id', { slot });
    }
    const found = this.memslots.get(slot);
    if (found === undefined) throw operatingError('ENOENT', 'dirty log', 'does not exist', { slot });
    if (found.dirtyLog === undefined) throw operatingError('ENOENT', 'dirty log', 'does not log', { slot });
    assert(this.mmuLock.tryWrite(), 'dirty log: the mmu_lock is held across a yield');
    const bitmap = found.dirtyLog.harvest();
    if (this.secondaryMmus.length > 0) {
      forEachRun(bitmap, (start, end) => {
        this.writeProtect((found.baseGfn + start) as Gfn, (found.baseGfn + end) as Gfn);
      });
    }
    this.mmuLock.endWrite();
    return bitmap;
  }

  /**
   * `kvm_destroy_vm()`: leaves the notifier, drops all translations, frees the slots. Caches must be unregistered first. An
   * event that is cut between its start and its end is forgotten; without one, all counters must be 0. Idempotent.
   */
  *destroy(): Op<void> {
    if (!this.#alive) return;
    yield* this.slotsLock.lock();
    this.#alive = false;
    yield* this.release();
    this.#unsubscribe();
    yield* this.host.synchronizeListeners();
    if (this.notifier.activeCount !== 0) this.invalidations.forgetActive();
    else assert(this.notifier.inProgress === 0, 'notifier: destroyed with an invalidation in progress');
    assert(this.caches.count === 0, `notifier: destroyed with ${this.caches.count} registered caches`);
    this.freeMemslots();
    this.slotsLock.unlock();
  }

  /** Whether a resolved frame must be resolved once more: the rule of the notifier, under the mmu_lock. */
  protected mustRetryFault(o: { sequence: number; gfn: Gfn }): boolean {
    return this.notifier.retry(o);
  }

  /** Whether the translation may allow writes that no fault announces. */
  protected mayMapWritable(slot: Memslot, address: Hva, o: { write: boolean }): boolean {
    if (slot.flags.readOnly) return false;
    if (o.write) return true;
    return slot.dirtyLog === undefined && this.host.tryFault(address, { write: true }) !== undefined;
  }

  protected override assertAlive(): void {
    if (!this.#alive) throw operatingError('EIO', 'memory region', 'the VM is destroyed', {});
  }

  /** Where the byte is right now, if the slot and the page-table entry allow the access without a fault. */
  #presentHpa(slot: Memslot, gpa: Gpa, o: { write: boolean }): Hpa | undefined {
    if (slot.invalid || (o.write && slot.flags.readOnly)) return undefined;
    const pfn = this.host.tryFault(slot.hvaOf(gpaToGfn(gpa)), o);
    return pfn === undefined ? undefined : ((pfn * PAGE_SIZE + pageOffset(gpa)) as Hpa);
  }

  /** Translates and copies with no yield between, so that the bytes are those of the current frame. */
  *#copyPage(gpa: Gpa, o: { write: boolean }, copy: (hpa: Hpa) => void): Op<void> {
    const gfn = gpaToGfn(gpa);
    const token = this.srcu.enter();
    try {
      const slot = this.memslots.find(gfn);
      const address = slot === undefined || slot.invalid ? undefined : slot.hvaOf(gfn);
      if (slot === undefined || address === undefined) throw guestError(gpa, o, 'has no memslot');
      if (o.write && slot.flags.readOnly) throw guestError(gpa, o, 'lies in a read-only memslot');
      yield slotFound;
      const pfn = yield* this.host.fault(address, o);
      copy((pfn * PAGE_SIZE + pageOffset(gpa)) as Hpa);
      if (o.write) this.markDirtyInSlot(slot, gfn);
    } finally {
      this.srcu.exit(token);
    }
  }
}

function guestError(gpa: Gpa, o: { write: boolean }, reason: string): Error {
  return operatingError('EFAULT', o.write ? 'guest write' : 'guest read', reason, { gpa });
}
