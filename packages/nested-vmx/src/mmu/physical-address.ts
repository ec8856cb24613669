/** Physical-address width that CPUID and the VMX capabilities tell L1. */
export const PHYSICAL_ADDRESS_BITS = 46;
export const PHYSICAL_ADDRESS_END = 2 ** PHYSICAL_ADDRESS_BITS;
/** No address: VMPTRST and the nested-state format show it as all ones. */
export const NO_PHYSICAL_ADDRESS = -1;

/** A 64-bit value as a physical address: `undefined` beyond the physical-address width. */
export function physicalAddress(low: number, high: number): number | undefined {
  const address = (high >>> 0) * 2 ** 32 + (low >>> 0);
  return address < PHYSICAL_ADDRESS_END ? address : undefined;
}

export const isAligned = (address: number, bytes: number): boolean => address % bytes === 0;
