import { interruptionInfo, interruptionType } from '@nvmx/vmx-fields';

const TYPE_SHIFT = 8;

/** An event to be delivered by the next VM entry, as VM-entry interruption information. */
export interface InjectedEvent {
  readonly info: number;
  readonly errorCode: number;
  readonly instructionBytes: number;
}

export const isValidEvent = (info: number): boolean => info >>> 31 === 1;
export const vectorOf = (info: number): number => info & interruptionInfo.VECTOR;
export const typeOf = (info: number): number => (info & interruptionInfo.TYPE) >>> TYPE_SHIFT;

/** Events whose delivery is caused by an instruction of known length: INT n, INT3, INTO, INT1. */
export function isSoftwareEvent(info: number): boolean {
  const type = typeOf(info);
  return (
    type === interruptionType.SOFTWARE_INTERRUPT ||
    type === interruptionType.SOFTWARE_EXCEPTION ||
    type === interruptionType.PRIVILEGED_SOFTWARE_EXCEPTION
  );
}

/** A hardware exception as VM-entry interruption information. */
export function exceptionEvent(vector: number, errorCode?: number): InjectedEvent {
  const withCode = errorCode === undefined ? 0 : interruptionInfo.ERROR_CODE;
  return {
    info: eventInfo(interruptionType.HARDWARE_EXCEPTION, vector) | withCode,
    errorCode: errorCode ?? 0,
    instructionBytes: 0,
  };
}

/** An external interrupt as VM-entry interruption information. */
export function interruptEvent(vector: number): InjectedEvent {
  return { info: eventInfo(interruptionType.EXTERNAL_INTERRUPT, vector), errorCode: 0, instructionBytes: 0 };
}

/** Type and vector in the format of the three interruption-information fields, valid. */
export function eventInfo(type: number, vector: number): number {
  return interruptionInfo.VALID | (type << TYPE_SHIFT) | vector;
}
