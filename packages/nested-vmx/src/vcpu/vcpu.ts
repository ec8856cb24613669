import type { HostMemory, TraceSink } from '@nvmx/guest-memory';
import type { PageBackend, VmMemory } from '@nvmx/mmu-events';
import { drive, type SrcuToken } from '@nvmx/sync';
import { EXIT_FAILED_VMENTRY, exitReason, field, Vmcs } from '@nvmx/vmx-fields';
import { isInstruction, Processor, type ProcessorObserver } from '@nvmx/x86';
import { handleExit } from '../exits/exit-handlers.ts';
import { HypervInterface } from '../exits/hyperv.ts';
import { Msrs } from '../exits/msrs.ts';
import { Ept12 } from '../mmu/ept12.ts';
import { L1Linear, type LinearOutcome } from '../mmu/l1-linear.ts';
import { L1Memory } from '../mmu/l1-memory.ts';
import { Mmu } from '../mmu/mmu.ts';
import { l1WantsExit } from '../nested/l1-intercepts.ts';
import { MsrBitmap } from '../nested/msr-bitmap.ts';
import { failEntry, loadNestedPages } from '../nested/nested-entry.ts';
import { exitOfProcessor, nestedVmexit } from '../nested/nested-exit.ts';
import { NestedState } from '../nested/nested-state.ts';
import { EnlightenedVmcs } from '../pages/enlightened-vmcs.ts';
import { NestedPages } from '../pages/nested-pages.ts';
import { StaleAccessAudit } from '../pages/stale-access-audit.ts';
import type { IoBus, LocalApic } from './devices.ts';
import type { InjectedEvent } from './event-info.ts';
import { completeVectoring, deliverEvents, EventQueue, programInjection } from './events.ts';
import { newVcpuStatistics } from './statistics.ts';
import { type ResetState, resetVcpu } from './vcpu-reset.ts';
import { VcpuTrace } from './vcpu-trace.ts';

/** Instructions between two ticks of the host's timer, unless the caller says otherwise. */
const TICK_INSTRUCTIONS = 1_000_000;

/** Why run() returned. */
export type RunOutcome =
  /** The caller's number of entries is used up. */
  | { readonly kind: 'budget' }
  /** A device asked to stop. */
  | { readonly kind: 'stopped' }
  /** The guest halted and no interrupt is on its way. */
  | { readonly kind: 'halted' }
  /** The guest cannot go on; `bytes` are the instruction bytes at `rip` where they can be read. */
  | { readonly kind: 'died'; readonly reason: string; readonly rip: bigint; readonly bytes: Uint8Array };

/** What a vCPU is made of. The backend belongs to the VM and may serve several vCPUs. */
export interface VcpuOptions {
  readonly id: number;
  readonly vm: VmMemory;
  readonly backend: PageBackend;
  readonly io: IoBus;
  readonly apic: LocalApic;
  readonly trace?: TraceSink | undefined;
  /** Sees each use that the processor makes of an address in vmcs02. Off, it costs one branch. */
  readonly audit?: StaleAccessAudit | undefined;
}

/** How long run() goes on. */
export interface RunOptions {
  /** VM entries until run() returns with `budget`. Without it, run() returns only when the guest ends or halts. */
  readonly entriesMax?: number | undefined;
  /** Instructions of a guest until the host's timer takes the processor back. */
  readonly tickInstructions?: number | undefined;
}

/**
 * One virtual CPU of L1 as L0 sees it: runs L1 under vmcs01, and L2 under vmcs02 once L1 entered it.
 * KVM: struct vcpu_vmx and vcpu_enter_guest(), with the steps V1 to V8 in their order.
 */
export class Vcpu implements ProcessorObserver {
  readonly id: number;
  readonly vm: VmMemory;
  readonly processor: Processor;
  readonly mmu: Mmu;
  readonly memory: L1Memory;
  readonly linear: L1Linear;
  readonly ept12: Ept12;
  readonly io: IoBus;
  readonly apic: LocalApic;
  readonly msrs: Msrs;
  readonly hyperv: HypervInterface;
  readonly nested: NestedState;
  readonly msrBitmap01: MsrBitmap;
  readonly events = new EventQueue();
  readonly statistics = newVcpuStatistics();
  readonly trace: VcpuTrace;

  readonly vmcs01 = new Vmcs();
  readonly vmcs02 = new Vmcs();
  /** The VMCS of the guest that runs next: vmcs01 or vmcs02. */
  vmcs: Vmcs = this.vmcs01;
  /** The guest executed HLT. */
  halted = false;
  readonly #audit: StaleAccessAudit | undefined;
  #outcome: RunOutcome | undefined;
  /** L0 uses memslots and pages inside this SRCU section; the guest runs outside of it. */
  #srcu: SrcuToken = 0;

  constructor(o: VcpuOptions) {
    const hostMemory: HostMemory = o.vm.memory;
    this.id = o.id;
    this.vm = o.vm;
    this.io = o.io;
    this.apic = o.apic;
    this.#audit = o.audit;
    this.processor = new Processor({ memory: hostMemory, ...(o.audit === undefined ? {} : { observer: this }) });
    this.mmu = new Mmu({
      vm: o.vm,
      flush: ({ pointer }) => this.processor.invalidate({ kind: 'ept', eptPointer: pointer }),
    });
    this.memory = new L1Memory(o.vm);
    this.linear = new L1Linear(this.memory);
    this.ept12 = new Ept12({ memory: this.memory, mmu: this.mmu });
    this.msrs = new Msrs(this);
    this.hyperv = new HypervInterface(this);
    this.msrBitmap01 = new MsrBitmap(hostMemory);
    this.msrBitmap01.openPassthrough();
    this.nested = new NestedState({
      pages: new NestedPages(o.backend, o.id),
      msrBitmap: new MsrBitmap(hostMemory),
      evmcs: new EnlightenedVmcs(o.backend, o.id),
    });
    this.trace = new VcpuTrace(this, o.trace);
  }

  /** Puts the vCPU into the state of a fresh power-on with the given registers of L1. */
  reset(state: ResetState): void {
    this.#outcome = undefined;
    this.halted = false;
    this.vmcs = this.vmcs01;
    resetVcpu(this, state);
  }

  /** Runs the guest until it ends, halts, or used up its entries. Plain: what may sleep is driven to its end. */
  run(o: RunOptions = {}): RunOutcome {
    this.#srcu = this.vm.srcu.enter();
    try {
      return this.#run(o.entriesMax ?? Number.POSITIVE_INFINITY, o.tickInstructions ?? TICK_INSTRUCTIONS);
    } finally {
      this.vm.srcu.exit(this.#srcu);
    }
  }

  #run(entriesMax: number, tick: number): RunOutcome {
    for (let entries = 0; ; ) {
      const mayEnter = deliverEvents(this);
      if (this.#outcome !== undefined) return this.#outcome;
      if (this.halted) return { kind: 'halted' };
      if (entries === entriesMax) return { kind: 'budget' };
      if (!this.#pagesAreCurrent()) continue;
      if (!this.#l1SeesItsExit()) continue;
      this.#enter(mayEnter ? tick : 0);
      entries++;
    }
  }

  /** Ends run() after the exit that is being handled: for devices. */
  stop(): void {
    this.#outcome ??= { kind: 'stopped' };
  }

  /** Ends the guest: it did what L0 cannot carry out, or asked for its own end. */
  die(reason: string): void {
    const rip = this.vmcs.readBig(field.GUEST_RIP);
    this.#outcome ??= { kind: 'died', reason, rip, bytes: this.#instructionBytes(rip) };
  }

  /** Whether the processor knows the instruction at RIP of L1. True where its bytes cannot be read. */
  standsAtInstruction(): boolean {
    const bytes = this.#instructionBytes(this.vmcs.readBig(field.GUEST_RIP));
    return bytes.length === 0 || isInstruction(bytes, { mode: 64 });
  }

  /** Raises an exception in the guest that runs; L1 sees it first when it intercepts that vector. */
  queueEvent(event: InjectedEvent): void {
    this.events.raise(this, event);
  }

  /** Raises the page fault that an access of L0 on behalf of the guest met. */
  queuePageFault(fault: Extract<LinearOutcome, { ok: false }>): void {
    this.events.raisePageFault(this, fault);
  }

  /** What RDTSC gives the guest of this VMCS now. */
  timeStampCounter(vmcs: Vmcs): bigint {
    return BigInt.asUintN(64, BigInt(this.processor.timeStamp) + vmcs.readBig(field.TSC_OFFSET));
  }

  /** Moves the time-stamp counter of L1, and with it that of its L2. */
  adjustTimeStampCounter(ticks: bigint): void {
    for (const vmcs of [this.vmcs01, this.vmcs02]) {
      vmcs.writeBig(field.TSC_OFFSET, BigInt.asUintN(64, vmcs.readBig(field.TSC_OFFSET) + ticks));
    }
  }

  /** ProcessorObserver: hardware used an address of the VMCS. Only L1's pages, which vmcs02 names, are the audit's. */
  vmcsAddressUse(fieldWord: number, address: number, matched: boolean): void {
    const role = StaleAccessAudit.roleOf(fieldWord);
    const { pages, guestMode } = this.nested;
    if (role === undefined || !guestMode || !pages.isUsed(role)) return;
    const pageGpa = pages.page(role).gpa;
    if (pageGpa === undefined) return;
    const programmed = this.vmcs02.readAddress(fieldWord);
    this.#audit?.processorAccess({ role, pageGpa, address: programmed, ...(matched ? {} : { reached: address }) });
  }

  /** Gives up every page, frame and table of this vCPU. It may not run afterwards. */
  destroy(): void {
    drive(this.nested.pages.deactivate());
    drive(this.nested.evmcs.release());
    this.mmu.destroy();
    this.msrBitmap01.destroy();
    this.nested.msrBitmap.destroy();
  }

  /**
   * V5, the entry test: what vmcs02 was programmed with is still right, or the entry is held back and the pages are
   * programmed again (V1 of the next turn).
   */
  #pagesAreCurrent(): boolean {
    if (!this.nested.guestMode || this.nested.pages.isCurrent()) return true;
    this.statistics.reprogrammed++;
    loadNestedPages(this);
    return false;
  }

  /**
   * L1 is about to run: an enlightened VMCS gets the exit. Unlike nested_sync_vmcs12_to_shadow(): here, where a refresh may
   * sleep, and not with preemption off.
   */
  #l1SeesItsExit(): boolean {
    if (this.nested.guestMode || drive(this.nested.evmcs.sync(this.nested.vmcs12))) return true;
    this.die('L0 cannot reach the enlightened VMCS');
    return false;
  }

  /** V6 to V8: the processor runs the guest until it exits, L0 handles the exit. */
  #enter(instructionsMax: number): void {
    programInjection(this);
    this.trace.entry();
    this.vm.srcu.exit(this.#srcu);
    const reason = this.processor.enter(this.vmcs, { instructionsMax });
    this.#srcu = this.vm.srcu.enter();
    this.statistics.entries++;
    if (reason < EXIT_FAILED_VMENTRY) completeVectoring(this);
    this.trace.exit(reason);
    if (this.nested.guestMode) this.#handleNestedExit(reason);
    else handleExit(this, reason);
  }

  #handleNestedExit(reason: number): void {
    this.nested.runPending = false;
    this.nested.pages.markWritten(this.vm);
    if (reason >= EXIT_FAILED_VMENTRY) {
      failEntry(this, exitReason.INVALID_STATE, this.vmcs02.read32(field.EXIT_QUALIFICATION));
      return;
    }
    this.trace.nestedExit();
    if (l1WantsExit(this, reason)) nestedVmexit(this, exitOfProcessor(this.vmcs02));
    else handleExit(this, reason);
  }

  #instructionBytes(rip: bigint): Uint8Array {
    const bytes = new Uint8Array(15);
    if (this.nested.guestMode) return new Uint8Array(0);
    return this.linear.read(this.vmcs, rip, bytes).ok ? bytes : new Uint8Array(0);
  }
}
