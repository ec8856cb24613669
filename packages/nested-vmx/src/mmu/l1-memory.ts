import { gpa, isAddress, OperatingError } from '@nvmx/guest-memory';
import type { VmMemory } from '@nvmx/mmu-events';
import { drive } from '@nvmx/sync';
import type { TableReader } from '@nvmx/x86';

/**
 * L0's copies from and to L1's physical memory (kvm_read_guest(), kvm_write_guest()): structures that L0 reads or writes
 * once and does not keep mapped. False where no memory backs the address.
 */
export class L1Memory implements TableReader {
  readonly #vm: VmMemory;
  readonly #entry = new Uint8Array(8);
  readonly #entryWords = new Int32Array(this.#entry.buffer);
  low = 0;
  high = 0;

  constructor(vm: VmMemory) {
    this.#vm = vm;
  }

  copyFrom(address: number, target: Uint8Array): boolean {
    return (
      this.#vm.tryReadGuest(gpa(address), target) || succeeds(() => drive(this.#vm.readGuest(gpa(address), target)))
    );
  }

  copyTo(address: number, source: Uint8Array): boolean {
    return (
      this.#vm.tryWriteGuest(gpa(address), source) || succeeds(() => drive(this.#vm.writeGuest(gpa(address), source)))
    );
  }

  /** TableReader: one 8-byte entry of L1's own page tables or EPT. */
  read(address: number): boolean {
    if (!isAddress(address) || !this.copyFrom(address, this.#entry)) return false;
    this.low = this.#entryWords[0];
    this.high = this.#entryWords[1];
    return true;
  }

  /** TableReader: sets accessed and dirty flags of the entry that was read at `address`. */
  setBits(address: number, bits: number): void {
    if (!this.read(address)) return;
    this.#entryWords[0] |= bits;
    this.copyTo(address, this.#entry);
  }
}

function succeeds(copy: () => void): boolean {
  try {
    copy();
    return true;
  } catch (error) {
    if (error instanceof OperatingError && error.code === 'EFAULT') return false;
    throw error;
  }
}
