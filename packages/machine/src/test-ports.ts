import type { PortDevice } from './io-bus.ts';

/** Nothing answers a read of a test port. */
const NOTHING = 0xffff_ffff;

/** A port that only takes values: any width, zero-extended, at the first port of its range. */
class ValuePort implements PortDevice {
  readonly #take: (value: number) => void;

  constructor(take: (value: number) => void) {
    this.#take = take;
  }

  read(): number {
    return NOTHING;
  }

  write(offset: number, _bytes: number, value: number): void {
    if (offset === 0) this.#take(value);
  }
}

/** Debug exit: the guest ends the run with a code, 0 for success. */
export function debugExitPort(onExit: (code: number) => void): PortDevice {
  return new ValuePort(onExit);
}

/** Marker: the guest says that a measured stretch begins or ends. */
export function markerPort(onMarker: (marker: number) => void): PortDevice {
  return new ValuePort(onMarker);
}

/** Report: the guest hands over a figure that it counted: its index first, then its value. */
export function reportPort(onReport: (index: number, value: number) => void): PortDevice {
  let index: number | undefined;
  const port = new ValuePort((value) => {
    const complete = index;
    index = complete === undefined ? value : undefined;
    if (complete !== undefined) onReport(complete, value);
  });
  return {
    read: () => port.read(),
    write: (offset, bytes, value) => port.write(offset, bytes, value),
    reset: () => {
      index = undefined;
    },
  };
}
