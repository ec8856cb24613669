import type { PortDevice } from './io-bus.ts';

/** Register offsets; DLL and DLM replace the first two while LCR.DLAB is set. */
const register = { DATA: 0, IER: 1, IIR_FCR: 2, LCR: 3, MCR: 4, LSR: 5, MSR: 6, SCR: 7 } as const;

const lcr = { DLAB: 0x80 } as const;
const ier = { RECEIVED: 1, TRANSMITTER_EMPTY: 2, LINE_STATUS: 4, MODEM_STATUS: 8, ALL: 0x0f } as const;
const iir = { NONE: 1, MODEM_STATUS: 0, TRANSMITTER_EMPTY: 2, RECEIVED: 4, LINE_STATUS: 6, FIFO: 0xc0 } as const;
const fcr = { ENABLE: 1, CLEAR_RECEIVER: 2 } as const;
const lsr = { DATA_READY: 1, OVERRUN: 2, TRANSMITTER_EMPTY: 0x60 } as const;
const mcr = { DTR: 1, RTS: 2, OUT1: 4, OUT2: 8, LOOP: 0x10, ALL: 0x1f } as const;
const msr = { CTS: 0x10, DSR: 0x20, RI: 0x40, DCD: 0x80 } as const;

/** What a null modem with nobody in the way shows: clear to send, data set ready, carrier. */
const LINES_OF_THE_HOST = msr.CTS | msr.DSR | msr.DCD;
const FIFO_BYTES = 16;

/** 9600 baud at the usual 1.8432 MHz. */
const DIVISOR_RESET = 12;

/**
 * A 16550 serial port whose transmitter is always ready: a byte leaves at once, whatever the divisor says.
 *
 * Registers behave as those of the chip, interrupt identification and loopback included. No interrupt line leaves the
 * device: the board has no interrupt controller that would take one, so {@link interruptPending} is for whoever has.
 */
export class Serial16550 implements PortDevice {
  readonly #transmit: (byte: number) => void;
  #state = resetState();

  constructor(o: { transmit: (byte: number) => void }) {
    this.#transmit = o.transmit;
  }

  /** Power-on: what was received and not read is gone. */
  reset(): void {
    this.#state = resetState();
  }

  /** Whether the chip would hold its interrupt line high. */
  get interruptPending(): boolean {
    return this.#identification() !== iir.NONE;
  }

  /** A byte arrives from the host. False when nothing was free to hold it: the guest then reads LSR.OE. */
  receive(byte: number): boolean {
    if (this.#state.received.length < (this.#state.fifoEnabled ? FIFO_BYTES : 1)) {
      this.#state.received.push(byte & 0xff);
      return true;
    }
    this.#state.overrun = true;
    return false;
  }

  read(offset: number): number {
    const dlab = (this.#state.lcr & lcr.DLAB) !== 0;
    switch (offset) {
      case register.DATA:
        return dlab ? this.#state.divisor & 0xff : (this.#state.received.shift() ?? 0);
      case register.IER:
        return dlab ? this.#state.divisor >>> 8 : this.#state.ier;
      case register.IIR_FCR:
        return this.#readIdentification();
      case register.LCR:
        return this.#state.lcr;
      case register.MCR:
        return this.#state.mcr;
      case register.LSR:
        return this.#readLineStatus();
      case register.MSR:
        return this.#readModemStatus();
      default:
        return this.#state.scratch;
    }
  }

  write(offset: number, _bytes: number, value: number): void {
    const dlab = (this.#state.lcr & lcr.DLAB) !== 0;
    switch (offset) {
      case register.DATA:
        if (dlab) this.#state.divisor = (this.#state.divisor & 0xff00) | value;
        else this.#send(value);
        return;
      case register.IER:
        if (dlab) this.#state.divisor = (this.#state.divisor & 0xff) | (value << 8);
        else this.#writeInterruptEnable(value);
        return;
      case register.IIR_FCR:
        this.#writeFifoControl(value);
        return;
      case register.LCR:
        this.#state.lcr = value;
        return;
      case register.MCR:
        this.#writeModemControl(value);
        return;
      case register.SCR:
        this.#state.scratch = value;
        return;
      default:
        return;
    }
  }

  #send(byte: number): void {
    this.#state.transmitterEmptyDue = true;
    if ((this.#state.mcr & mcr.LOOP) === 0) this.#transmit(byte);
    else this.receive(byte);
  }

  #writeInterruptEnable(value: number): void {
    const enabled = value & ier.ALL & ~this.#state.ier;
    this.#state.ier = value & ier.ALL;
    if ((enabled & ier.TRANSMITTER_EMPTY) !== 0) this.#state.transmitterEmptyDue = true;
  }

  #writeFifoControl(value: number): void {
    const enabled = (value & fcr.ENABLE) !== 0;
    if (enabled !== this.#state.fifoEnabled || (enabled && (value & fcr.CLEAR_RECEIVER) !== 0))
      this.#state.received.length = 0;
    this.#state.fifoEnabled = enabled;
  }

  #writeModemControl(value: number): void {
    const before = this.#modemLines();
    this.#state.mcr = value & mcr.ALL;
    const after = this.#modemLines();
    const fallingRing = (before & ~after & msr.RI) !== 0;
    const changed = ((before ^ after) & ~msr.RI) >>> 4;
    this.#state.modemDelta |= changed | (fallingRing ? msr.RI >>> 4 : 0);
  }

  /** In loopback the outputs of MCR come back as the inputs of MSR. */
  #modemLines(): number {
    if ((this.#state.mcr & mcr.LOOP) === 0) return LINES_OF_THE_HOST;
    const line = (output: number, input: number): number => ((this.#state.mcr & output) === 0 ? 0 : input);
    return line(mcr.RTS, msr.CTS) | line(mcr.DTR, msr.DSR) | line(mcr.OUT1, msr.RI) | line(mcr.OUT2, msr.DCD);
  }

  #readLineStatus(): number {
    const status =
      lsr.TRANSMITTER_EMPTY |
      (this.#state.received.length > 0 ? lsr.DATA_READY : 0) |
      (this.#state.overrun ? lsr.OVERRUN : 0);
    this.#state.overrun = false;
    return status;
  }

  #readModemStatus(): number {
    const status = this.#modemLines() | this.#state.modemDelta;
    this.#state.modemDelta = 0;
    return status;
  }

  #readIdentification(): number {
    const identification = this.#identification();
    if (identification === iir.TRANSMITTER_EMPTY) this.#state.transmitterEmptyDue = false;
    return identification | (this.#state.fifoEnabled ? iir.FIFO : 0);
  }

  /** The pending interrupt of the highest priority. */
  #identification(): number {
    if ((this.#state.ier & ier.LINE_STATUS) !== 0 && this.#state.overrun) return iir.LINE_STATUS;
    if ((this.#state.ier & ier.RECEIVED) !== 0 && this.#state.received.length > 0) return iir.RECEIVED;
    if ((this.#state.ier & ier.TRANSMITTER_EMPTY) !== 0 && this.#state.transmitterEmptyDue)
      return iir.TRANSMITTER_EMPTY;
    if ((this.#state.ier & ier.MODEM_STATUS) !== 0 && this.#state.modemDelta !== 0) return iir.MODEM_STATUS;
    return iir.NONE;
  }
}

interface SerialState {
  readonly received: number[];
  ier: number;
  lcr: number;
  mcr: number;
  scratch: number;
  divisor: number;
  fifoEnabled: boolean;
  overrun: boolean;
  /** The interrupt "transmitter empty" is due until IIR shows it. */
  transmitterEmptyDue: boolean;
  /** Modem lines that changed since MSR was read last, in bits 3:0. */
  modemDelta: number;
}

function resetState(): SerialState {
  return {
    received: [],
    ier: 0,
    lcr: 0,
    mcr: 0,
    scratch: 0,
    divisor: DIVISOR_RESET,
    fifoEnabled: false,
    overrun: false,
    transmitterEmptyDue: false,
    modemDelta: 0,
  };
}
