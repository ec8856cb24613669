export { DirtyLog } from './dirty-log.ts';
export { HostAddressSpace } from './host-address-space.ts';
export { InvalidationState, type NotifierState } from './invalidation-state.ts';
export type { MmuNotifierListener } from './listeners.ts';
export type { MemoryRegion, RegionChange, RegionPlan, SlotSet } from './memory-region.ts';
export { Memslot, type MemslotFlags } from './memslot.ts';
export type { MemslotProtocol } from './memslot-protocol.ts';
export { GFN_END, Memslots, SLOT_PAGES_MAX, USER_MEM_SLOTS } from './memslots.ts';
export type { NotifierProtocol } from './notifier-protocol.ts';
export type {
  AccessObserver,
  BackendStatistics,
  HeldPage,
  HoldOutcome,
  PageBackend,
  PageRequest,
  PageRole,
} from './page-backend.ts';
export type { Pte } from './page-table.ts';
export { type HvaRange, type RangeEvent, type RangeReason, USER_ADDRESS_END } from './range.ts';
export type { RangeCache } from './range-caches.ts';
export type { SecondaryMmu } from './secondary-mmu.ts';
export { type GuestPage, VmMemory } from './vm-memory.ts';
