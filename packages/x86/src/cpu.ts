import type { HostMemory } from '@nvmx/guest-memory';
import { CodeCache, type CodePage } from './code-cache.ts';
import { EptCache } from './ept-cache.ts';
import type { CodeMode } from './instruction.ts';
import { MsrFile } from './msr-file.ts';
import type { ProcessorObserver } from './observer.ts';
import { Slot } from './slot.ts';
import { Privilege, Tlb, TranslationContext } from './tlb.ts';
import { Translator } from './translation.ts';

const PAGE_SIZE = 4096;
const REGISTER_FILE_BYTES = Slot.COUNT * 4;

/** Why the main loop has to look at the state before the next instruction. */
export const enum Attention {
  /** RFLAGS.TF: a single-step trap is due after the next instruction. */
  TRAP_FLAG = 1,
  /** An interrupt shadow ends with the next instruction. */
  SHADOW = 2,
  /** RFLAGS.RF ends with the next instruction. */
  RESUME_FLAG = 4,
  /** An event may be deliverable now: interrupt, NMI, window, virtual interrupt, pending trap, halt. */
  EVENT = 8,
  /** Monitor trap flag. */
  MONITOR_TRAP = 16,
}

/** Whether a VM exit has been taken, and which RIP it saves. */
export const enum Exiting {
  NO = 0,
  /** At the start of the instruction that is carried out. */
  INSTRUCTION = 1,
  /** Between instructions: RIP as it stands. */
  BOUNDARY = 2,
}

/** Interrupt shadow, in place as bits of GUEST_INTERRUPTIBILITY_INFO. */
export const enum Shadow {
  NONE = 0,
  STI = 1,
  MOV_SS = 2,
}

/** Thrown to leave an instruction that faults or exits; what happened stands in the `Cpu`. */
export const UNWIND: unique symbol = Symbol('x86: unwind to the main loop');

/**
 * The state of one processor. Executors are functions over it.
 *
 * Guest state that instructions rarely touch (segments, control registers, descriptor tables, ...) is not copied: it
 * lives in the words of the current VMCS, so that VM entry and VM exit move little.
 */
export class Cpu {
  readonly memory: HostMemory;
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly i32: Int32Array;
  /** Host-physical addresses from here on have no memory behind them. */
  readonly memoryBytes: number;
  readonly physicalAddressBits: number;
  observer: ProcessorObserver | undefined;

  /** Register file: `Slot` indices. */
  readonly r: Int32Array;
  /** The same bytes, for 16-bit and 8-bit registers. */
  readonly r16: Uint16Array;
  readonly r8: Uint8Array;

  /** Words of the VMCS in use. */
  v: Uint32Array = new Uint32Array(0);
  pinControls = 0;
  procControls = 0;
  secondaryControls = 0;
  entryControls = 0;
  exitControls = 0;
  eptEnabled = false;
  /** Page address of the EPT pointer in use, 0 without EPT. */
  eptPage = 0;
  /** APIC-access page while accesses to it are virtualized, else -1. */
  apicAccessPage = -1;

  mode: CodeMode = 64;
  cpl = 0;
  /** IA32_EFER bits 31:0. */
  efer = 0;
  patLow = 0x0007_0406;
  patHigh = 0x0007_0406;
  cr2Low = 0;
  cr2High = 0;
  /** CR8 without TPR shadow. */
  cr8 = 0;
  /** DR0..DR3 as pairs, DR6 at 12, DR7 at 14. */
  readonly debugRegisters = new Int32Array(16);
  debugctlLow = 0;
  debugctlHigh = 0;
  readonly msrs = new MsrFile();

  readonly tlbs = new Tlb();
  readonly eptCache = new EptCache();
  context: TranslationContext = new TranslationContext();
  /** Data translations of the current privilege: `DATA_STRIDE` words each. */
  tlb: Int32Array;
  fetchTlb: Int32Array;
  fetchPages: (CodePage | undefined)[];
  readonly translator: Translator;
  privilege: Privilege = Privilege.SUPERVISOR;
  /** The processor reads descriptor tables or pushes for an event: access is with supervisor privilege. */
  systemAccess = false;

  readonly code: CodeCache;

  /** What the main loop must look at, `Attention` bits. */
  attention = 0;
  exiting: Exiting = Exiting.NO;
  /** Instructions of the current block that are still to be carried out, counted from its start. */
  blockEnd = 0;
  /** Instructions of the current block that were begun. */
  position = 0;
  /** Instructions until the host's tick. */
  quota = 0;
  /** Retired since creation. */
  instructions = 0;
  /** Added to `instructions` to give the time-stamp counter. */
  tscSkew = 0;

  /** Fault that `UNWIND` carries: vector, error code (-1: none). */
  faultVector = -1;
  faultErrorCode = -1;
  /** Linear address of a page fault or of an address that is not canonical. */
  faultLow = 0;
  faultHigh = 0;
  /** The general-protection fault is about a linear address: it is a stack fault when the stack segment was used. */
  faultIsNonCanonical = false;

  /** Interruption information of the event that is being delivered, 0: none. */
  deliveringInfo = 0;
  deliveringErrorCode = 0;
  deliveringLength = 0;

  shadow: Shadow = Shadow.NONE;
  /** The shadow was set by the last instruction and covers the next one. */
  shadowIsNew = false;
  nmiBlocked = false;
  /** Values of GUEST_ACTIVITY_STATE. */
  activity = 0;
  /** Pending debug exceptions, in place as bits of DR6. */
  pendingDebug = 0;
  /** A monitor-trap-flag exit is due: pending since the last boundary. */
  monitorTrapPending = false;

  /** Physical interrupts that have arrived: one bit a vector. */
  readonly interruptRequests = new Int32Array(8);
  interruptCount = 0;
  nmiRequests = 0;
  /** A virtual interrupt has been recognized (SDM volume 3, "Evaluation of Pending Virtual Interrupts"). */
  virtualInterruptRecognized = false;
  /** A VM exit that an instruction causes after it has completed: reason, 0: none. */
  trapExitReason = 0;
  trapExitQualification = 0;

  randomState = 0x2545_f491;

  /** Host-physical address of the last translation. */
  hostAddress = 0;

  constructor(o: {
    readonly memory: HostMemory;
    readonly registerOffset: number;
    readonly observer: ProcessorObserver | undefined;
    readonly physicalAddressBits: number;
  }) {
    const { memory } = o;
    this.memory = memory;
    this.u8 = memory.u8;
    this.u16 = memory.u16;
    this.i32 = memory.i32;
    this.memoryBytes = memory.frameCount * PAGE_SIZE;
    this.physicalAddressBits = o.physicalAddressBits;
    this.observer = o.observer;
    const base = memory.scratch.base + o.registerOffset;
    this.r = new Int32Array(memory.buffer, base, Slot.COUNT);
    this.r16 = new Uint16Array(memory.buffer, base, Slot.COUNT * 2);
    this.r8 = new Uint8Array(memory.buffer, base, REGISTER_FILE_BYTES);
    this.code = new CodeCache(this);
    const set = this.context.set(Privilege.SUPERVISOR);
    this.tlb = set.data;
    this.fetchTlb = set.fetch;
    this.fetchPages = set.fetchPages;
    this.translator = new Translator(this);
  }

  /** The next word of a fixed sequence (xorshift): what RDRAND and RDSEED give. */
  nextRandom(): number {
    let word = this.randomState;
    word ^= word << 13;
    word ^= word >>> 17;
    word ^= word << 5;
    this.randomState = word;
    return word;
  }

  /** Retired instructions of a processor that has carried out `position` more of the current block. */
  timeStamp(position: number): number {
    return this.instructions + position + this.tscSkew;
  }
}

export { REGISTER_FILE_BYTES };
