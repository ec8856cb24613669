/** What a processor tells about its use of memory, for audits. Must not change the state of the processor. */
export interface ProcessorObserver {
  /**
   * The hardware used an address that the VMCS holds: virtual-APIC page, posted-interrupt descriptor, MSR or I/O bitmap.
   * `field` is the word of the VMCS field, `hpa` the address that was reached.
   *
   * For APIC_ACCESS_ADDR the use is a comparison: `hpa` is the page that the guest reached and `matched` tells whether
   * it was the APIC-access page. Matches are reported at each access; a page that did not match when its translation
   * enters the TLB, thus once until that translation is flushed. For all other fields `matched` is true.
   */
  vmcsAddressUse(field: number, hpa: number, matched: boolean): void;
}
