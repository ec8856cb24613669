/**
 * Model-specific registers that no VMCS field holds and no instruction needs fast: STAR, LSTAR, CSTAR, FMASK,
 * KERNEL_GS_BASE, TSC_AUX. They pass through VM entries and exits; L0 switches them as it does on hardware.
 */
export class MsrFile {
  readonly #low = new Map<number, number>();
  readonly #high = new Map<number, number>();

  /** Bits 31:0, signed; 0 for one never written. */
  low(index: number): number {
    return this.#low.get(index) ?? 0;
  }

  /** Bits 63:32, signed; 0 for one never written. */
  high(index: number): number {
    return this.#high.get(index) ?? 0;
  }

  set(index: number, low: number, high: number): void {
    this.#low.set(index, low | 0);
    this.#high.set(index, high | 0);
  }
}
