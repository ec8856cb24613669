export {
  everyNestedVmxFeature,
  type MsrHalves,
  type NestedVmxFeatures,
  nestedVmxCapabilities,
} from './capabilities.ts';
export {
  decodeEvmcs,
  decodeEvmcsHeader,
  EVMCS_BYTES,
  EVMCS_REVISION,
  type EvmcsHeader,
  encodeEvmcs,
  evmcsCleanMask,
  evmcsEnlightenments,
} from './evmcs.ts';
export { EXIT_FAILED_VMENTRY, exitReasonName } from './exit-reason.ts';
export {
  type FieldAccess,
  type FieldName,
  type FieldRow,
  type FieldType,
  type FieldWidth,
  fieldBits,
  fieldByEncoding,
  fieldRows,
  parseEncoding,
} from './fields.ts';
export {
  accessRights,
  activityState,
  apicAccess,
  apicAccessType,
  apicBase,
  cr0,
  cr4,
  crAccess,
  crAccessType,
  debugctl,
  dr6,
  dr7,
  efer,
  eptEntry,
  eptPointer,
  eptViolation,
  eptVpidCap,
  exceptionVector,
  featureControl,
  interruptibility,
  interruptionInfo,
  interruptionType,
  invalidateType,
  ioAccess,
  pageFaultError,
  pageTableEntry,
  pendingDebugException,
  rflags,
  vmEntryFailure,
  vmxAbort,
} from './generated/architecture-bits.ts';
export {
  alwaysOn,
  evmcsControls,
  pinBased,
  procBased,
  secondary,
  tertiary,
  vmEntry,
  vmExit,
} from './generated/controls.ts';
export { evmcsCleanFields } from './generated/evmcs-clean-fields.ts';
export { evmcsLayout } from './generated/evmcs-layout.ts';
export { exitReason, exitReasonFlags } from './generated/exit-reasons.ts';
export { msrBitmap } from './generated/msr-bitmap.ts';
export { msrBitmapMergeRows } from './generated/msr-bitmap-merge.ts';
export { msr } from './generated/msrs.ts';
export {
  getNestedStateRules,
  nestedStateCapability,
  nestedStateFlags,
  nestedStateIoctl,
  nestedStateLayout,
  nestedStateSmmFlags,
  nestedStateVmxFlags,
  setNestedStateRules,
} from './generated/nested-state.ts';
export { vmxMsr } from './generated/nested-vmx-caps.ts';
export { piDesc } from './generated/pi-desc.ts';
export { virtualApicPage, x2apicMsr } from './generated/virtual-apic-page.ts';
export { vmInstructionError } from './generated/vm-instruction-errors.ts';
export { field } from './generated/vmcs-fields.ts';
export { vmcs12Layout } from './generated/vmcs12-layout.ts';
export { vpAssistPage } from './generated/vp-assist-page.ts';
export {
  ioBitmapBit,
  type MsrAccess,
  type MsrBitmapMergeRow,
  type MsrBitmapRange,
  msrBitmapBit,
  vmreadBitmapBit,
} from './msr-bitmap.ts';
export type { GetNestedStateRule, SetNestedStateRule } from './nested-state.ts';
export {
  addressHigh,
  addressLow,
  bigHigh,
  bigLow,
  fitsPhysicalWidth,
  isAligned,
  isCanonicalPair,
  pairToAddress,
  pairToBig,
} from './pairs.ts';
export type {
  BitField,
  CapabilityRow,
  Layout,
  LayoutField,
  Scalar,
} from './table.ts';
export { Vmcs } from './vmcs.ts';
export {
  decodeVmcs12,
  encodeVmcs12,
  VMCS12_BYTES,
  VMCS12_REVISION,
  VMCS12_USED_BYTES,
  type Vmcs12Header,
} from './vmcs12.ts';
