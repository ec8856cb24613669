import { cpus, release, totalmem } from 'node:os';
import type { MachineInfo } from './report.ts';

/** The machine as far as a figure depends on it. No names of hosts or users. */
export function machineInfo(): MachineInfo {
  const processors = cpus();
  return {
    platform: process.platform,
    arch: process.arch,
    kernel: release(),
    cpu: processors[0]?.model.trim() ?? 'unknown',
    cpuCount: processors.length,
    memoryBytes: totalmem(),
  };
}
