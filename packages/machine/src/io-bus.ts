import { assert } from '@nvmx/guest-memory';
import type { IoBus } from '@nvmx/nested-vmx';

/** The sizes of IN and OUT. */
export type AccessBytes = 1 | 2 | 4;

/** A device behind ports. `offset` counts from the first port of its range. */
export interface PortDevice {
  read(offset: number, bytes: AccessBytes): number;
  write(offset: number, bytes: AccessBytes, value: number): void;
  /** Power-on. Absent on a device without state. */
  reset?(): void;
}

/** One row of the board: the ports of one device. */
export interface PortRange {
  readonly name: string;
  readonly first: number;
  readonly last: number;
  /** The widest access that the device takes as a whole. A wider one reaches it as bytes, lowest port first, as on ISA. */
  readonly accessBytes: AccessBytes;
  readonly device: PortDevice;
}

const PORT_LAST = 0xffff;

/**
 * Routes port I/O by rows. An unclaimed port reads as all ones and drops writes; so does what lies beyond port 0xffff.
 * An access that no single row takes whole is split into bytes, each routed alone.
 */
export class PortBus implements IoBus {
  readonly ranges: readonly PortRange[];

  /** Asserts that rows lie in 0..0xffff and do not overlap. */
  constructor(ranges: readonly PortRange[]) {
    this.ranges = [...ranges].sort((a, b) => a.first - b.first);
    let free = 0;
    for (const { name, first, last } of this.ranges) {
      assert(Number.isInteger(first) && first >= free && first <= last, `io bus: the ports of ${name} are taken`);
      assert(last <= PORT_LAST, `io bus: the ports of ${name} end beyond 0xffff`);
      free = last + 1;
    }
  }

  /** Power-on for every device. */
  reset(): void {
    for (const { device } of this.ranges) device.reset?.();
  }

  read(port: number, bytes: AccessBytes): number {
    const range = this.#find(port);
    if (range !== undefined && takesWhole(range, port, bytes)) {
      return (range.device.read(port - range.first, bytes) & onesOf(bytes)) >>> 0;
    }
    let value = 0;
    for (let i = 0; i < bytes; i += 1) value |= this.#readByte(port + i) << (8 * i);
    return value >>> 0;
  }

  write(port: number, bytes: AccessBytes, value: number): void {
    const range = this.#find(port);
    if (range !== undefined && takesWhole(range, port, bytes)) {
      range.device.write(port - range.first, bytes, (value & onesOf(bytes)) >>> 0);
      return;
    }
    for (let i = 0; i < bytes; i += 1) this.#writeByte(port + i, (value >>> (8 * i)) & 0xff);
  }

  #readByte(port: number): number {
    const range = this.#find(port);
    return range === undefined ? 0xff : range.device.read(port - range.first, 1) & 0xff;
  }

  #writeByte(port: number, value: number): void {
    const range = this.#find(port);
    range?.device.write(port - range.first, 1, value);
  }

  #find(port: number): PortRange | undefined {
    return this.ranges.find((range) => port >= range.first && port <= range.last);
  }
}

function takesWhole(range: PortRange, port: number, bytes: AccessBytes): boolean {
  return bytes <= range.accessBytes && port + bytes - 1 <= range.last;
}

function onesOf(bytes: AccessBytes): number {
  return bytes === 4 ? -1 : 2 ** (8 * bytes) - 1;
}
