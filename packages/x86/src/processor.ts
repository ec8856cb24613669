import { assert, type HostMemory, OperatingError, type Pfn } from '@nvmx/guest-memory';
import { field, type Vmcs } from '@nvmx/vmx-fields';
import { Attention, Cpu, Exiting, REGISTER_FILE_BYTES } from './cpu.ts';
import { run } from './main-loop.ts';
import type { ProcessorObserver } from './observer.ts';
import { entryAddress } from './paging.ts';
import { Registers } from './registers.ts';
import { saveGuest } from './save-guest.ts';
import { enterGuest } from './vm-entry.ts';

const { VM_EXIT_REASON } = field;
const INSTRUCTIONS_MAX = 2 ** 30;
const PHYSICAL_ADDRESS_BITS = 46;
const VECTORS = 256;
const HALF = 32n;

/** Which cached translations `invalidate` drops. */
export type Invalidation =
  /** Everything. */
  | { readonly kind: 'all' }
  /** INVEPT: what was derived from one EPT pointer. */
  | { readonly kind: 'ept'; readonly eptPointer: number }
  /** INVVPID: the linear translations of one VPID, or those of one address. */
  | { readonly kind: 'vpid'; readonly vpid: number; readonly linear?: bigint };

/** What a processor is made of. */
export interface ProcessorOptions {
  readonly memory: HostMemory;
  /** Which of the processors over this memory this is: each has its own registers in the scratch area. */
  readonly cpu?: number;
  readonly observer?: ProcessorObserver;
  /** MAXPHYADDR: address bits of paging entries above it are reserved. */
  readonly physicalAddressBits?: number;
}

/**
 * An x86-64 processor that runs guests in VMX non-root operation: `enter()` is VM entry, its return is VM exit.
 * There is no host state: the caller is the host. Memory is reached by host-physical address, through the EPT that the
 * VMCS names; an address without a frame behind it reads as ones, and writes to it are dropped.
 */
export class Processor {
  readonly registers: Registers;
  readonly #cpu: Cpu;

  /** Throws `ENOMEM` when the scratch area of the memory has no room for the registers. */
  constructor(o: ProcessorOptions) {
    const registerOffset = (o.cpu ?? 0) * REGISTER_FILE_BYTES;
    if (registerOffset + REGISTER_FILE_BYTES > o.memory.scratch.bytes) {
      throw new OperatingError(
        'ENOMEM',
        `x86: no room for the registers of processor ${o.cpu ?? 0} in the scratch area`,
        {
          needed: registerOffset + REGISTER_FILE_BYTES,
          scratch: o.memory.scratch.bytes,
        },
      );
    }
    this.#cpu = new Cpu({
      memory: o.memory,
      registerOffset,
      observer: o.observer,
      physicalAddressBits: o.physicalAddressBits ?? PHYSICAL_ADDRESS_BITS,
    });
    this.registers = new Registers(this.#cpu.r);
  }

  /** Instructions retired since creation. A repeated string instruction counts once for each 1024 iterations or less. */
  get instructions(): number {
    return this.#cpu.instructions;
  }

  /** The time-stamp counter without any offset of a VMCS: one tick an instruction. */
  get timeStamp(): number {
    return this.#cpu.timeStamp(0);
  }

  /** Lets time pass without instructions, as it does for a processor that sleeps. */
  advanceTimeStamp(ticks: number): void {
    this.#cpu.tscSkew += ticks;
  }

  /** CR2 passes through VM entries and exits: it is not part of the VMCS. */
  get cr2(): bigint {
    return (BigInt(this.#cpu.cr2High >>> 0) << HALF) | BigInt(this.#cpu.cr2Low >>> 0);
  }

  /** Sets CR2 to the halves of an address. */
  setCr2(low: number, high: number): void {
    this.#cpu.cr2Low = low | 0;
    this.#cpu.cr2High = high | 0;
  }

  /** Debug registers 0..3 and 6, which pass through VM entries and exits. DR7 is in the VMCS. */
  debugRegister(number: 0 | 1 | 2 | 3 | 6): bigint {
    const d = this.#cpu.debugRegisters;
    return (BigInt(d[2 * number + 1] >>> 0) << HALF) | BigInt(d[2 * number] >>> 0);
  }

  setDebugRegister(number: 0 | 1 | 2 | 3 | 6, value: bigint): void {
    const d = this.#cpu.debugRegisters;
    d[2 * number] = Number(BigInt.asIntN(32, value));
    d[2 * number + 1] = Number(BigInt.asIntN(32, value >> HALF));
  }

  /**
   * An MSR that passes through VM entries and exits: STAR, LSTAR, CSTAR, FMASK, KERNEL_GS_BASE, TSC_AUX.
   * EFER as well: it is what a VM entry without "load IA32_EFER" starts from.
   */
  readMsr(index: number): bigint {
    const { msrs } = this.#cpu;
    if (index === IA32_EFER) return BigInt(this.#cpu.efer);
    return (BigInt(msrs.high(index) >>> 0) << HALF) | BigInt(msrs.low(index) >>> 0);
  }

  writeMsr(index: number, value: bigint): void {
    const low = Number(BigInt.asIntN(32, value));
    if (index === IA32_EFER) this.#cpu.efer = low;
    else this.#cpu.msrs.set(index, low, Number(BigInt.asIntN(32, value >> HALF)));
  }

  /**
   * VM entry: loads the guest's state from `vmcs`, delivers the event to be injected, runs to a VM exit, saves the
   * guest's state and the exit information into `vmcs`. Returns the exit reason word; a failed entry has bit 31 set.
   *
   * `instructionsMax` (at least 1) is the time to the host's timer tick: when it is used up, or nothing can wake a
   * guest that sleeps, the exit reason is EXTERNAL_INTERRUPT, with `HOST_TICK_VECTOR` when interrupts are acknowledged
   * on exit.
   */
  enter(vmcs: Vmcs, o?: { readonly instructionsMax?: number }): number {
    const cpu = this.#cpu;
    cpu.v = vmcs.words;
    cpu.quota = o?.instructionsMax ?? INSTRUCTIONS_MAX;
    if (!enterGuest(cpu)) return cpu.v[VM_EXIT_REASON];
    if (cpu.exiting === Exiting.NO) run(cpu);
    saveGuest(cpu);
    return cpu.v[VM_EXIT_REASON];
  }

  /**
   * A physical interrupt arrives. It exits the guest, is processed as a posted-interrupt notification, or waits.
   * One vector is pending at most once.
   */
  raiseInterrupt(vector: number): void {
    assert(Number.isInteger(vector) && vector >= 0 && vector < VECTORS, `x86: ${vector} is no interrupt vector`);
    const cpu = this.#cpu;
    const bit = 1 << (vector & 31);
    if ((cpu.interruptRequests[vector >>> 5] & bit) !== 0) return;
    cpu.interruptRequests[vector >>> 5] |= bit;
    cpu.interruptCount++;
    this.#attend();
  }

  /** A non-maskable interrupt arrives. */
  raiseNonmaskableInterrupt(): void {
    this.#cpu.nmiRequests++;
    this.#attend();
  }

  /** Whether a physical interrupt waits to be taken. */
  get interruptPending(): boolean {
    return this.#cpu.interruptCount !== 0;
  }

  /** INVEPT and INVVPID of the host: drops cached translations. Needed after every change that takes rights away. */
  invalidate(o: Invalidation): void {
    const { tlbs, eptCache } = this.#cpu;
    switch (o.kind) {
      case 'all':
        tlbs.flushAll();
        eptCache.flush();
        return;
      case 'ept':
        tlbs.flushEpt(entryAddress(o.eptPointer % 2 ** 32, Math.floor(o.eptPointer / 2 ** 32)));
        eptCache.flush();
        return;
      default:
        if (o.linear === undefined) tlbs.flushVpid(o.vpid);
        else {
          const low = Number(BigInt.asIntN(32, o.linear));
          tlbs.flushVpidAddress(o.vpid, low, Number(BigInt.asIntN(32, o.linear >> HALF)));
        }
    }
  }

  /** The host changed the bytes of a frame by itself: what was decoded from it is dropped. */
  invalidateCode(pfn: Pfn): void {
    this.#cpu.code.invalidate(pfn);
  }

  #attend(): void {
    this.#cpu.attention |= Attention.EVENT;
    this.#cpu.blockEnd = 0;
  }
}

const IA32_EFER = 0xc000_0080;
