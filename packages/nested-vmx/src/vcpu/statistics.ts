/** What one vCPU did. All counts start at 0 and grow. */
export interface VcpuStatistics {
  /** VM entries of either guest. */
  entries: number;
  /** VM entries of L2 that L1 asked for. */
  nestedEntries: number;
  /** Exits of L2 that L1 got to see. */
  nestedExits: number;
  /** Entries that were held back because a page behind vmcs02 was no longer what had been programmed. */
  reprogrammed: number;
}

export function newVcpuStatistics(): VcpuStatistics {
  return { entries: 0, nestedEntries: 0, nestedExits: 0, reprogrammed: 0 };
}
