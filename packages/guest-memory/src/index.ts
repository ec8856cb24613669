export {
  type Gfn,
  type Gpa,
  gfn,
  gfnToGpa,
  gpa,
  gpaFromBigint,
  gpaFromPair,
  gpaToGfn,
  type Hpa,
  type Hva,
  hpa,
  hpaFromBigint,
  hpaFromPair,
  hpaToPfn,
  hva,
  hvaFromBigint,
  isAddress,
  PAGE_SHIFT,
  PAGE_SIZE,
  type Pfn,
  pageOffset,
  pageStart,
  pfn,
  pfnToHpa,
} from './addresses.ts';
export { AssertionError, assert, type ErrnoName, OperatingError } from './errors.ts';
export { FrameTable, type FrameTableOptions, type FrameZone, POISON } from './frame-table.ts';
export type { HostMemory, Mapping } from './host-memory.ts';
export {
  defineLayout,
  type FieldType,
  type FieldValue,
  type Layout,
  type LayoutField,
  type LayoutFields,
  type LayoutValues,
} from './layout.ts';
export { createManagedMemory, type ManagedMemoryOptions } from './managed-memory.ts';
export { type LinearViews, PageView } from './page-view.ts';
export type { TraceSink } from './trace.ts';
