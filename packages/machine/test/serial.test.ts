import { describe, expect, it } from 'vitest';
import { Serial16550 } from '../src/index.ts';

const [DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR] = [0, 1, 2, 3, 4, 5, 6, 7] as const;
const FCR = IIR;
const DLAB = 0x80;
const LOOP = 0x10;

describe('transmitter', () => {
  it('passes each byte on at once and is always empty', () => {
    const { serial, sent } = port();
    for (const byte of [0x68, 0x69, 0x0a, 0xff, 0]) {
      expect(serial.read(LSR) & 0x60).toBe(0x60);
      serial.write(DATA, 1, byte);
    }
    expect(sent).toEqual([0x68, 0x69, 0x0a, 0xff, 0]);
  });

  it('sends nothing while DLAB shows the divisor', () => {
    const { serial, sent } = port();
    serial.write(LCR, 1, DLAB);
    serial.write(DATA, 1, 0x01);
    serial.write(IER, 1, 0x02);
    expect([serial.read(DATA), serial.read(IER)]).toEqual([1, 2]);
    serial.write(DATA, 1, 0x40);
    expect([serial.read(DATA), serial.read(IER)]).toEqual([0x40, 2]);
    serial.write(IER, 1, 0x80);
    expect([serial.read(DATA), serial.read(IER)]).toEqual([0x40, 0x80]);
    serial.write(LCR, 1, 3);
    expect([serial.read(LCR), serial.read(IER), sent.length]).toEqual([3, 0, 0]);
  });
});

describe('receiver', () => {
  it('shows a byte in LSR.DR until RBR is read', () => {
    const { serial } = port();
    expect(serial.read(LSR) & 1).toBe(0);
    expect(serial.receive(0x141)).toBe(true);
    expect(serial.read(LSR) & 1).toBe(1);
    expect([serial.read(DATA), serial.read(LSR) & 1, serial.read(DATA)]).toEqual([0x41, 0, 0]);
  });

  it('holds one byte without FIFO: the next is an overrun, shown once', () => {
    const { serial } = port();
    expect([serial.receive(1), serial.receive(2)]).toEqual([true, false]);
    expect([serial.read(LSR) & 3, serial.read(LSR) & 3]).toEqual([3, 1]);
    expect(serial.read(DATA)).toBe(1);
  });

  it('holds 16 bytes with FIFO, in order', () => {
    const { serial } = port();
    serial.write(FCR, 1, 1);
    for (let byte = 0; byte < 16; byte += 1) expect(serial.receive(byte)).toBe(true);
    expect(serial.receive(16)).toBe(false);
    for (let byte = 0; byte < 16; byte += 1) expect(serial.read(DATA)).toBe(byte);
    expect(serial.read(LSR) & 3).toBe(2);
  });

  it('is emptied by FCR bit 1, and when the FIFO is switched on or off', () => {
    for (const values of [[1, 3], [1], [1, 0]]) {
      const { serial } = port();
      serial.receive(1);
      for (const value of values) {
        serial.write(FCR, 1, value);
        if (value === 1 && values.length > 1) serial.receive(2);
      }
      expect(serial.read(LSR) & 1, String(values)).toBe(0);
    }
  });

  it('keeps its bytes when FCR is written without a reason to clear', () => {
    const { serial } = port();
    serial.write(FCR, 1, 1);
    serial.receive(7);
    serial.write(FCR, 1, 0xc1);
    expect(serial.read(DATA)).toBe(7);
    serial.write(FCR, 1, 0);
    serial.receive(8);
    serial.write(FCR, 1, 2);
    expect(serial.read(DATA)).toBe(8);
  });
});

describe('interrupt identification', () => {
  it('says none after reset, and FIFO bits follow FCR', () => {
    const { serial } = port();
    expect(serial.read(IIR)).toBe(1);
    serial.write(FCR, 1, 1);
    expect(serial.read(IIR)).toBe(0xc1);
    expect(serial.interruptPending).toBe(false);
  });

  it('keeps only the four enable bits', () => {
    const { serial } = port();
    serial.write(IER, 1, 0xff);
    expect(serial.read(IER)).toBe(0x0f);
  });

  it('shows "transmitter empty" when it is enabled, and clears it by reading IIR', () => {
    const { serial } = port();
    serial.write(IER, 1, 2);
    expect(serial.interruptPending).toBe(true);
    expect([serial.read(IIR), serial.read(IIR)]).toEqual([2, 1]);
    serial.write(DATA, 1, 0x41);
    expect([serial.read(IIR), serial.read(IIR)]).toEqual([2, 1]);
  });

  it.each([
    ['data', 1, 4],
    ['transmitter', 2, 2],
    ['line status', 4, 6],
    ['modem status', 8, 0],
  ])('shows %s under its own enable bit, and under no other', (_cause, bit, identification) => {
    for (const enabled of [1, 2, 4, 8]) {
      const { serial } = port();
      if (bit === 1 || bit === 4) serial.receive(1);
      if (bit === 4) serial.receive(2);
      if (bit === 4) serial.read(DATA);
      if (bit === 8) serial.write(MCR, 1, LOOP);
      serial.write(IER, 1, enabled);
      if (enabled === 2 && bit !== 2) expect(serial.read(IIR)).toBe(2);
      expect(serial.read(IIR), `enabled ${enabled}`).toBe(enabled === bit ? identification : 1);
    }
  });

  it('does not show "transmitter empty" again when another cause is enabled', () => {
    const { serial } = port();
    serial.write(IER, 1, 2);
    expect(serial.read(IIR)).toBe(2);
    serial.write(IER, 1, 3);
    expect(serial.read(IIR)).toBe(1);
    serial.write(IER, 1, 1);
    serial.write(IER, 1, 3);
    expect(serial.read(IIR)).toBe(2);
  });

  it('shows nothing that is not enabled', () => {
    const { serial } = port();
    serial.receive(1);
    serial.receive(2);
    serial.write(MCR, 1, LOOP | 3);
    expect(serial.read(IIR)).toBe(1);
  });

  it('ranks line status over data over transmitter over modem', () => {
    const { serial } = port();
    serial.write(IER, 1, 0x0f);
    serial.receive(1);
    serial.receive(2);
    serial.write(MCR, 1, LOOP);
    expect(serial.read(IIR)).toBe(6);
    serial.read(LSR);
    expect(serial.read(IIR)).toBe(4);
    serial.read(DATA);
    expect(serial.read(IIR)).toBe(2);
    expect(serial.read(IIR)).toBe(0);
    serial.read(MSR);
    expect(serial.read(IIR)).toBe(1);
  });
});

describe('modem', () => {
  it('shows carrier, data set ready and clear to send', () => {
    expect(port().serial.read(MSR)).toBe(0xb0);
  });

  it('brings each output of MCR back as an input in loopback', () => {
    const pairs = [
      [1, 0x20],
      [2, 0x10],
      [4, 0x40],
      [8, 0x80],
    ] as const;
    for (const [output, input] of pairs) {
      const { serial } = port();
      serial.write(MCR, 1, LOOP | output);
      expect(serial.read(MSR) & 0xf0).toBe(input);
      expect(serial.read(MCR)).toBe(LOOP | output);
    }
  });

  it('loops nothing back while only outputs are set', () => {
    const { serial, sent } = port();
    serial.write(MCR, 1, 0x0f);
    serial.write(DATA, 1, 0x41);
    expect([serial.read(MSR), serial.read(LSR) & 1, sent.length]).toEqual([0xb0, 0, 1]);
  });

  it('shows changes since the last read, the ring only when it ends', () => {
    const { serial } = port();
    serial.write(MCR, 1, LOOP | 0x0b);
    expect(serial.read(MSR)).toBe(0xb0);
    serial.write(MCR, 1, LOOP | 0x0c);
    expect(serial.read(MSR)).toBe(0xc0 | 0x03);
    expect(serial.read(MSR)).toBe(0xc0);
    serial.write(MCR, 1, LOOP | 0x08);
    expect(serial.read(MSR)).toBe(0x80 | 0x04);
  });

  it('sends a byte to itself in loopback, and not out', () => {
    const { serial, sent } = port();
    serial.write(MCR, 1, LOOP);
    serial.write(DATA, 1, 0x5a);
    expect([serial.read(DATA), sent.length]).toEqual([0x5a, 0]);
  });

  it('keeps only the five bits of MCR', () => {
    const { serial } = port();
    serial.write(MCR, 1, 0xff);
    expect(serial.read(MCR)).toBe(0x1f);
  });
});

describe('scratch and read-only registers', () => {
  it('keep what is written to SCR, and ignore writes of LSR and MSR', () => {
    const { serial } = port();
    for (let value = 0; value < 256; value += 1) {
      serial.write(SCR, 1, value);
      expect(serial.read(SCR)).toBe(value);
    }
    serial.write(LSR, 1, 0);
    serial.write(MSR, 1, 0);
    expect([serial.read(LSR), serial.read(MSR)]).toEqual([0x60, 0xb0]);
  });
});

describe('a reset', () => {
  it('puts every register back and forgets what was received', () => {
    const { serial } = port();
    const registers = (): number[] => Array.from({ length: 8 }, (_, offset) => serial.read(offset));
    const fresh = registers();
    serial.write(LCR, 1, DLAB);
    serial.write(DATA, 1, 0x55);
    serial.write(IER, 1, 0x55);
    serial.write(LCR, 1, 0x1f);
    serial.write(IER, 1, 0x0f);
    serial.write(FCR, 1, 1);
    serial.write(MCR, 1, LOOP | 0x0f);
    serial.write(SCR, 1, 0x55);
    for (let byte = 0; byte < 20; byte += 1) serial.receive(byte);
    serial.reset();
    expect(registers()).toEqual(fresh);
    serial.write(LCR, 1, DLAB);
    expect([serial.read(DATA), serial.read(IER)]).toEqual([12, 0]);
  });
});

function port(): { serial: Serial16550; sent: number[] } {
  const sent: number[] = [];
  return { serial: new Serial16550({ transmit: (byte) => sent.push(byte) }), sent };
}
