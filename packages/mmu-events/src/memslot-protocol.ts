import type { Gfn } from '@nvmx/guest-memory';
import { Mutex, type Op, point } from '@nvmx/sync';
import { DirtyLog } from './dirty-log.ts';
import { checkRegion, type MemoryRegion, planRegion, type RegionPlan } from './memory-region.ts';
import { Memslot } from './memslot.ts';
import { Memslots } from './memslots.ts';
import { NotifierProtocol } from './notifier-protocol.ts';

/** M5: the in-progress snapshot is out, the plain generation is not. Partner: whoever tags a translation. */
const publishGeneration = point('memslots: before publishing the generation');

/**
 * The memslot updater's half of `struct kvm`: steps M1 .. M9.
 *
 * A create and a change of flags publish once. A delete and a move first publish the slot as INVALID, wait until nobody
 * uses the old one, and zap it; only then comes the final state. So there is always a moment with no slot in a move.
 */
export abstract class MemslotProtocol extends NotifierProtocol {
  protected readonly slotsLock = new Mutex('slots_lock');
  protected readonly slotsArchLock = new Mutex('slots_arch_lock');
  #published = Memslots.empty;

  get memslots(): Memslots {
    return this.#published;
  }

  /**
   * KVM_SET_USER_MEMORY_REGION: creates, deletes (size 0), moves a slot or changes its flags. Nothing changed is no error
   * and steps no generation. May sleep, and waits until no invalidation is active: an endless stream of them starves it.
   *
   * @throws OperatingError EINVAL, EEXIST, EIO as the arguments deserve; ENOMEM without memory for the dirty bitmap, and
   * the slot is as it was; EIO once the VM is destroyed.
   */
  *setMemoryRegion(region: MemoryRegion): Op<void> {
    yield* this.slotsLock.lock();
    try {
      this.assertAlive();
      checkRegion(region);
      const plan = planRegion(this.memslots, region);
      if (plan !== undefined) yield* this.update(plan);
    } finally {
      this.slotsLock.unlock();
    }
  }

  /** M1 .. M9, under slots_lock. */
  protected *update(plan: RegionPlan): Op<void> {
    yield* this.slotsArchLock.lock();
    const hasInvalidPhase = this.needsInvalidPhase(plan);
    const invalid = hasInvalidPhase ? yield* this.invalidateSlotForUpdate(plan.old!) : undefined;
    const replaced = invalid ?? plan.old;
    let prepared: Memslot | undefined;
    try {
      prepared = this.prepare(plan);
    } catch (error) {
      yield* this.undo({ invalid, old: plan.old });
      throw error;
    }
    yield* this.publish(this.memslots.replace({ remove: replaced, insert: prepared }));
    if (plan.change === 'flags-only') yield* this.commitFlags(prepared!);
    plan.old?.free();
    invalid?.free();
    this.traceUpdate(plan);
  }

  /** Whether readers see the slot as INVALID before it goes. */
  protected needsInvalidPhase(plan: RegionPlan): boolean {
    return plan.change === 'delete' || plan.change === 'move';
  }

  /** M2 .. M6. Enters and leaves with slots_arch_lock held. */
  protected *invalidateSlotForUpdate(old: Memslot): Op<Memslot> {
    const invalid = old.invalidated();
    yield* this.publish(this.memslots.replace({ remove: old, insert: invalid }));
    yield* this.flushSlot(old);
    yield* this.slotsArchLock.lock();
    return invalid;
  }

  /** M6: nothing was mapped from the slot since its readers left, so what is zapped here stays away. */
  protected *flushSlot(old: Memslot): Op<void> {
    yield* this.zapSecondaryMmus({ start: old.baseGfn, end: old.endGfn });
    for (const mmu of this.secondaryMmus) if (mmu.kick !== undefined) yield* mmu.kick({ mayBlock: true });
  }

  /** M7: the final version of the slot, with its dirty bitmap. Throws OperatingError ENOMEM. */
  protected prepare(plan: RegionPlan): Memslot | undefined {
    const { next } = plan;
    if (next === undefined || !next.flags.logDirtyPages || next.dirtyLog !== undefined) return next;
    return new Memslot({
      id: next.id,
      baseGfn: next.baseGfn,
      pageCount: next.pageCount,
      hva: next.hva,
      flags: next.flags,
      invalid: false,
      dirtyLog: this.createDirtyLog(next.pageCount),
    });
  }

  protected createDirtyLog(pageCount: number): DirtyLog {
    return new DirtyLog(pageCount);
  }

  /** M7 failed: the old slot comes back, under a generation of its own. */
  protected *undo(o: { invalid: Memslot | undefined; old: Memslot | undefined }): Op<void> {
    if (o.invalid === undefined) {
      this.slotsArchLock.unlock();
      return;
    }
    yield* this.publish(this.memslots.replace({ remove: o.invalid, insert: o.old }));
    o.invalid.free();
  }

  /** M3 .. M5: publishes the snapshot in two steps. Enters with slots_arch_lock held, leaves without it. */
  protected *publish(next: Memslots): Op<void> {
    yield* this.invalidateLock.lock();
    yield* this.waitForInvalidations();
    this.#published = this.marksUpdateInProgress() ? next.inProgress() : next.settled();
    this.invalidateLock.unlock();
    this.slotsArchLock.unlock();
    if (this.mustSynchronizeReaders()) yield* this.srcu.synchronize();
    const settled = this.marksUpdateInProgress() ? next.settled() : this.#published;
    if (this.announcesBeforeGeneration()) this.announce(settled);
    yield publishGeneration;
    this.#published = settled;
    if (!this.announcesBeforeGeneration()) this.announce(settled);
  }

  /** M5: whether secondary MMUs hear of a generation before anybody can see it. */
  protected announcesBeforeGeneration(): boolean {
    return true;
  }

  protected announce(settled: Memslots): void {
    for (const mmu of this.secondaryMmus) mmu.memslotsUpdated?.(settled);
  }

  /** M3: start and end of one invalidation see the same memslots. Partner: N7. Holds mn_invalidate_lock on return. */
  protected *waitForInvalidations(): Op<void> {
    while (this.mustWaitForInvalidations()) {
      this.invalidateLock.unlock();
      yield* this.updateWait.wait(() => !this.mustWaitForInvalidations());
      yield* this.invalidateLock.lock();
    }
  }

  protected mustWaitForInvalidations(): boolean {
    return this.notifier.activeCount !== 0;
  }

  /** Whether the first of the two snapshots tells that what is derived from it will go stale. */
  protected marksUpdateInProgress(): boolean {
    return true;
  }

  /** M4: whether the update waits for the readers of the old snapshot. */
  protected mustSynchronizeReaders(): boolean {
    return true;
  }

  /** M9: when logging starts, every present translation loses its write access, so that the next write is seen. */
  protected *commitFlags(slot: Memslot): Op<void> {
    if (!slot.flags.logDirtyPages) return;
    yield* this.mmuLock.write();
    this.writeProtect(slot.baseGfn, slot.endGfn);
    this.mmuLock.endWrite();
  }

  /** Under the mmu_lock. */
  protected writeProtect(start: Gfn, end: Gfn): void {
    for (const mmu of this.secondaryMmus) {
      if (mmu.writeProtectGfnRange === undefined) mmu.zapGfnRange(start, end);
      else mmu.writeProtectGfnRange(start, end);
    }
  }

  /** Forgets every slot, at teardown. */
  protected freeMemslots(): void {
    for (const slot of this.#published) slot.free();
    this.#published = Memslots.empty;
  }

  /** @throws OperatingError EIO once the VM is destroyed. */
  protected abstract assertAlive(): void;

  protected traceUpdate(plan: RegionPlan): void {
    if (this.trace === undefined) return;
    const { generation } = this.memslots;
    const id = (plan.next ?? plan.old)!.id;
    this.trace({ name: 'kvm_set_user_memory_region', slot: id, change: plan.change, generation });
  }
}
