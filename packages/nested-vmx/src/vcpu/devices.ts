/** Port I/O of the board that surrounds L1. Reads of a port that no device claims return all ones. */
export interface IoBus {
  read(port: number, bytes: 1 | 2 | 4): number;
  write(port: number, bytes: 1 | 2 | 4, value: number): void;
}

/**
 * What L0 needs of L1's local APIC. The board implements it; L0 owns delivery and nesting.
 * MSR accessors take IA32_APIC_BASE and the x2APIC range 0x800 to 0x8ff: `undefined` and `false` mean #GP(0).
 */
export interface LocalApic {
  readonly id: number;
  /** The task priority, 0 to 255, in every mode of the APIC. CR8 shows bits 7:4. */
  taskPriority: number;
  readMsr(index: number): bigint | undefined;
  writeMsr(index: number, value: bigint): boolean;
  /** The vector that the APIC would deliver now (above the processor priority), or -1. */
  highestPending(): number;
  /** Moves a vector from IRR to ISR, as an INTA cycle does. */
  acknowledge(vector: number): void;
  isPending(vector: number): boolean;
  /** Takes a vector out of IRR without servicing it. */
  clearPending(vector: number): void;
}
