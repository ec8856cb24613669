export { capabilityMsrs, controlCapabilities, fixedBits } from './capabilities.ts';
export { EptTables } from './mmu/ept-tables.ts';
export { type FaultOutcome, Mmu } from './mmu/mmu.ts';
export { PHYSICAL_ADDRESS_BITS } from './mmu/physical-address.ts';
export {
  controlChecks,
  type EntryCheck,
  enlightenedControlChecks,
  firstFailure,
  guestStateChecks,
  hostStateChecks,
} from './nested/entry-checks.ts';
export { MsrBitmap } from './nested/msr-bitmap.ts';
export { type EnlightenedOutcome, EnlightenedVmcs } from './pages/enlightened-vmcs.ts';
export { NestedPages, type ProgramOutcome, type UnreachablePage } from './pages/nested-pages.ts';
export { completePostedInterrupts, type PostedInterruptOutcome } from './pages/posted-interrupts.ts';
export { type AccessActor, type StaleAccess, StaleAccessAudit } from './pages/stale-access-audit.ts';
export type { IoBus, LocalApic } from './vcpu/devices.ts';
export type { VcpuStatistics } from './vcpu/statistics.ts';
export { type RunOptions, type RunOutcome, Vcpu, type VcpuOptions } from './vcpu/vcpu.ts';
export type { ResetState } from './vcpu/vcpu-reset.ts';
