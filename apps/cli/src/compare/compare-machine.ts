import type { HostMemory } from '@nvmx/guest-memory';
import { createMachine, type Machine, type MachineOutcome } from '@nvmx/machine';
import type { PageBackend, VmMemory } from '@nvmx/mmu-events';
import type { StaleAccessAudit } from '@nvmx/nested-vmx';
import { GuestFailure } from '../errors.ts';
import { describeEnd } from '../guest-end.ts';
import { GUEST_BYTES, report } from './compare-guest.ts';
import type { PhaseWatch } from './phase-watch.ts';

/** A machine that runs compare.elf once, and what the guest says meanwhile. */
export class CompareMachine {
  readonly machine: Machine;
  /** What came in at the report port, by index. */
  readonly reported = new Map<number, number>();
  #serial = '';

  constructor(o: {
    readonly memory: HostMemory;
    readonly createBackend: (vm: VmMemory) => PageBackend;
    readonly phase: PhaseWatch;
    readonly clock: () => number;
    readonly createAudit?: (vm: VmMemory) => StaleAccessAudit;
  }) {
    this.machine = createMachine({
      memory: o.memory,
      memoryBytes: GUEST_BYTES,
      createBackend: o.createBackend,
      clock: o.clock,
      onSerial: (byte) => {
        this.#serial += String.fromCharCode(byte);
      },
      onMarker: (number, at) => {
        o.phase.mark(number, { ...at, statistics: this.machine.backend.statistics });
      },
      onReport: (index, value) => this.reported.set(index, value),
      createAudit: o.createAudit,
    });
  }

  /** The guest must have ended by itself, with every check of its own passed. Throws GuestFailure otherwise. */
  checkEnd(outcome: MachineOutcome): void {
    if (outcome.kind === 'budget') throw new Error('compare: the guest has not ended');
    const failure = describeEnd(outcome, this.machine);
    if (failure === undefined) return;
    throw new GuestFailure(`compare: ${this.machine.backend.name}: ${failure}${this.#complaint()}`);
  }

  /** How many checks the guest made of its own. */
  get checksPassed(): number {
    return this.reported.get(report.CHECKS_PASSED) ?? 0;
  }

  /** The first line in which the guest says what is wrong, after a separator. */
  #complaint(): string {
    const line = this.#serial.split('\n').find((candidate) => /^(FAIL|REFUSED|EXCEPTION)/.test(candidate));
    return line === undefined ? '' : `; it said: ${line.trim()}`;
  }
}
