import { Attention, type Cpu, Exiting, Shadow } from './cpu.ts';
import { deliver, deliverDebugTrap, EVENT_VALID, EventType } from './exceptions.ts';
import { Vector } from './faults.ts';
import { Flag } from './flags.ts';
import { isNotification, processPostedInterrupts } from './posted-interrupts.ts';
import { Slot } from './slot.ts';
import { acceptVirtualInterrupt } from './virtual-apic.ts';
import { Exit, exitAtBoundary, exitForEvent } from './vm-exit.ts';

const PIN_EXTERNAL_INTERRUPTS = 1;
const PIN_NMI = 8;
const PIN_VIRTUAL_NMIS = 0x20;
const PROC_INTERRUPT_WINDOW = 4;
const PROC_NMI_WINDOW = 0x40_0000;
const EXIT_ACKNOWLEDGE = 0x8000;
const ACTIVE = 0;
const HALTED = 1;
const PENDING_SINGLE_STEP = 0x4000;

/** Vector of the host's timer, which an exhausted instruction budget stands for. */
export const HOST_TICK_VECTOR = 0xec;

/**
 * What is due between two instructions, in the order of SDM volume 3, "Priority Among Concurrent Events".
 * Returns how many instructions may run until the next look; 0: a VM exit was taken.
 */
export function atBoundary(cpu: Cpu): number {
  if ((cpu.attention & Attention.EVENT) !== 0) {
    takeEvents(cpu);
    if (cpu.exiting !== Exiting.NO) return 0;
  }
  if (cpu.quota <= 0) {
    exitForTick(cpu);
    return 0;
  }
  return (cpu.attention & ~Attention.EVENT) === 0 ? cpu.quota : 1;
}

/** Delivers or exits until nothing more is due. An activity state other than active lasts to the host's tick. */
function takeEvents(cpu: Cpu): void {
  while (takeEvent(cpu)) {
    if (cpu.exiting !== Exiting.NO) return;
  }
  if (cpu.activity !== ACTIVE) {
    cpu.quota = 0;
    return;
  }
  if (cpu.shadow === Shadow.NONE) cpu.attention &= ~Attention.EVENT;
}

/** True when something was taken. In shutdown and wait-for-SIPI nothing is: the signals that end them are not modeled. */
function takeEvent(cpu: Cpu): boolean {
  if (cpu.trapExitReason !== 0) return exitForTrap(cpu);
  if (cpu.monitorTrapPending) {
    cpu.monitorTrapPending = false;
    exitAtBoundary(cpu, Exit.MONITOR_TRAP_FLAG);
    return true;
  }
  if (cpu.activity > HALTED) return false;
  if (cpu.pendingDebug !== 0 && cpu.shadow !== Shadow.MOV_SS) {
    cpu.activity = ACTIVE;
    deliverDebugTrap(cpu);
    return true;
  }
  return takeNonmaskable(cpu) || takeInterrupt(cpu);
}

function exitForTrap(cpu: Cpu): boolean {
  const reason = cpu.trapExitReason;
  cpu.trapExitReason = 0;
  exitAtBoundary(cpu, reason, cpu.trapExitQualification);
  return true;
}

function takeNonmaskable(cpu: Cpu): boolean {
  if (cpu.shadow === Shadow.MOV_SS) return false;
  const exits = (cpu.pinControls & PIN_NMI) !== 0;
  if (!cpu.nmiBlocked && (cpu.procControls & PROC_NMI_WINDOW) !== 0) {
    exitAtBoundary(cpu, Exit.NMI_WINDOW);
    return true;
  }
  if (cpu.nmiRequests === 0 || (cpu.nmiBlocked && !blocksOnlyVirtualNmis(cpu))) return false;
  cpu.nmiRequests--;
  const info = EventType.NMI | Vector.NMI;
  if (exits) {
    exitForEvent(cpu, { reason: Exit.EXCEPTION_NMI, info, errorCode: 0, length: 0 });
    return true;
  }
  cpu.nmiBlocked = true;
  deliver(cpu, { info: EVENT_VALID | info, errorCode: 0, length: 0 });
  return true;
}

/** Under virtual NMIs the blocking that the guest sees is about injected NMIs: physical ones exit all the same. */
function blocksOnlyVirtualNmis(cpu: Cpu): boolean {
  return (cpu.pinControls & PIN_VIRTUAL_NMIS) !== 0;
}

function takeInterrupt(cpu: Cpu): boolean {
  if (cpu.shadow !== Shadow.NONE) return false;
  const enabled = (cpu.r[Slot.SYSTEM_FLAGS] & Flag.IF) !== 0;
  if (enabled && (cpu.procControls & PROC_INTERRUPT_WINDOW) !== 0) {
    exitAtBoundary(cpu, Exit.INTERRUPT_WINDOW);
    return true;
  }
  if (cpu.interruptCount !== 0) {
    if ((cpu.pinControls & PIN_EXTERNAL_INTERRUPTS) !== 0) return takePhysicalInterrupt(cpu);
    if (enabled) {
      deliverInterrupt(cpu, acknowledge(cpu));
      return true;
    }
  }
  if (!enabled || !cpu.virtualInterruptRecognized) return false;
  deliverInterrupt(cpu, acceptVirtualInterrupt(cpu));
  return true;
}

function deliverInterrupt(cpu: Cpu, vector: number): void {
  deliver(cpu, { info: EVENT_VALID | EventType.EXTERNAL_INTERRUPT | vector, errorCode: 0, length: 0 });
}

/** With external-interrupt exiting: a notification is processed in place, every other vector exits. */
function takePhysicalInterrupt(cpu: Cpu): boolean {
  const vector = highestRequest(cpu);
  if (isNotification(cpu, vector)) {
    acknowledge(cpu);
    processPostedInterrupts(cpu);
    return true;
  }
  if ((cpu.exitControls & EXIT_ACKNOWLEDGE) === 0) {
    exitAtBoundary(cpu, Exit.EXTERNAL_INTERRUPT);
    return true;
  }
  exitForEvent(cpu, { reason: Exit.EXTERNAL_INTERRUPT, info: acknowledge(cpu), errorCode: 0, length: 0 });
  return true;
}

function exitForTick(cpu: Cpu): void {
  if ((cpu.exitControls & EXIT_ACKNOWLEDGE) === 0) exitAtBoundary(cpu, Exit.EXTERNAL_INTERRUPT);
  else exitForEvent(cpu, { reason: Exit.EXTERNAL_INTERRUPT, info: HOST_TICK_VECTOR, errorCode: 0, length: 0 });
}

function highestRequest(cpu: Cpu): number {
  for (let n = 7; n >= 0; n--) {
    if (cpu.interruptRequests[n] !== 0) return n * 32 + 31 - Math.clz32(cpu.interruptRequests[n]);
  }
  return 0;
}

/** Takes the highest pending physical interrupt off the queue. */
export function acknowledge(cpu: Cpu): number {
  const vector = highestRequest(cpu);
  cpu.interruptRequests[vector >>> 5] &= ~(1 << (vector & 31));
  cpu.interruptCount--;
  return vector;
}

/** What the completion of one instruction under `Attention` leaves behind. `flags`: the system flags before it. */
export function afterStep(cpu: Cpu, flags: number, isDelivered: boolean): void {
  if (cpu.shadowIsNew) cpu.shadowIsNew = false;
  else if (cpu.shadow !== Shadow.NONE) {
    cpu.shadow = Shadow.NONE;
    cpu.attention |= Attention.EVENT;
  }
  if (cpu.shadow === Shadow.NONE) cpu.attention &= ~Attention.SHADOW;
  if ((flags & Flag.RF) !== 0) {
    cpu.r[Slot.SYSTEM_FLAGS] &= ~Flag.RF;
    cpu.attention &= ~Attention.RESUME_FLAG;
  }
  if ((flags & Flag.TF) !== 0 && !isDelivered) {
    cpu.pendingDebug |= PENDING_SINGLE_STEP;
    cpu.attention |= Attention.EVENT;
  }
  if ((cpu.attention & Attention.MONITOR_TRAP) !== 0) {
    cpu.monitorTrapPending = true;
    cpu.attention |= Attention.EVENT;
  }
}
