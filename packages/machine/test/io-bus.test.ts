import { describe, expect, it } from 'vitest';
import { type AccessBytes, PortBus, type PortDevice, type PortRange } from '../src/index.ts';

describe('PortBus', () => {
  it.each([
    [1, 0xff],
    [2, 0xffff],
    [4, 0xffff_ffff],
  ] as const)('reads all ones from an unclaimed port: %i bytes', (bytes, ones) => {
    expect(new PortBus([]).read(0x70, bytes)).toBe(ones);
  });

  it('drops writes to an unclaimed port', () => {
    const { bus, log } = busOf([{ name: 'a', first: 0x10, last: 0x13, accessBytes: 4 }]);
    for (const bytes of [1, 2, 4] as const) bus.write(0x14, bytes, 0x55);
    expect(log).toEqual([]);
  });

  it('gives a device the offset in its range, at its first and last port', () => {
    const { bus, log } = busOf([{ name: 'a', first: 0x3f8, last: 0x3ff, accessBytes: 1 }]);
    bus.write(0x3f8, 1, 0xaa);
    bus.write(0x3ff, 1, 0xbb);
    bus.read(0x3fd, 1);
    bus.write(0x3f7, 1, 1);
    bus.write(0x400, 1, 1);
    expect(log).toEqual(['a+0 <- 1:0xaa', 'a+7 <- 1:0xbb', 'a+5 -> 1']);
  });

  it('passes a wide access whole to a device that takes it', () => {
    const { bus, log } = busOf([{ name: 'a', first: 0xf4, last: 0xf7, accessBytes: 4 }], 0xdead_beef);
    bus.write(0xf4, 4, 0x8000_0001);
    expect(bus.read(0xf4, 4)).toBe(0xdead_beef);
    expect(log).toEqual(['a+0 <- 4:0x80000001', 'a+0 -> 4']);
  });

  it('splits an access that is wider than the device takes, lowest port first', () => {
    const { bus, log } = busOf([{ name: 'a', first: 0x3f8, last: 0x3ff, accessBytes: 1 }], 0x41);
    bus.write(0x3f8, 4, 0x4433_2211);
    expect(bus.read(0x3f8, 2)).toBe(0x4141);
    expect(log.slice(0, 4)).toEqual(['a+0 <- 1:0x11', 'a+1 <- 1:0x22', 'a+2 <- 1:0x33', 'a+3 <- 1:0x44']);
  });

  it('splits an access over two devices and over the edge of one', () => {
    const { bus, log } = busOf(
      [
        { name: 'a', first: 0x10, last: 0x11, accessBytes: 4 },
        { name: 'b', first: 0x12, last: 0x12, accessBytes: 1 },
      ],
      0,
    );
    bus.write(0x10, 4, 0x4433_2211);
    expect(bus.read(0x0f, 4)).toBe(0x0000_00ff);
    expect(bus.read(0x11, 4)).toBe(0xffff_0000);
    expect(log.slice(0, 3)).toEqual(['a+0 <- 1:0x11', 'a+1 <- 1:0x22', 'b+0 <- 1:0x33']);
  });

  it('reads all ones beyond port 0xffff', () => {
    const { bus } = busOf([{ name: 'a', first: 0xffff, last: 0xffff, accessBytes: 1 }], 0);
    expect(bus.read(0xffff, 4)).toBe(0xffff_ff00);
  });

  it('cuts what a device returns to the width of the access', () => {
    const { bus } = busOf([{ name: 'a', first: 0, last: 3, accessBytes: 4 }], 0xffff_ffff);
    expect([bus.read(0, 1), bus.read(0, 2), bus.read(0, 4)]).toEqual([0xff, 0xffff, 0xffff_ffff]);
  });

  it('asserts rows that overlap, run backward or leave the port space', () => {
    const row = (first: number, last: number): Omit<PortRange, 'device'> => ({
      name: 'odd',
      first,
      last,
      accessBytes: 1,
    });
    expect(() => busOf([row(0x10, 0x17), row(0x17, 0x18)])).toThrow('the ports of odd are taken');
    expect(() => busOf([row(5, 4)])).toThrow('the ports of odd are taken');
    expect(() => busOf([row(-1, 4)])).toThrow('the ports of odd are taken');
    expect(() => busOf([row(0xffff, 0x1_0000)])).toThrow('the ports of odd end beyond 0xffff');
  });
});

function busOf(rows: readonly Omit<PortRange, 'device'>[], value = 0xff): { bus: PortBus; log: string[] } {
  const log: string[] = [];
  const device = (name: string): PortDevice => ({
    read: (offset: number, bytes: AccessBytes) => {
      log.push(`${name}+${offset} -> ${bytes}`);
      return value;
    },
    write: (offset: number, bytes: AccessBytes, written: number) => {
      log.push(`${name}+${offset} <- ${bytes}:0x${written.toString(16)}`);
    },
  });
  return { bus: new PortBus(rows.map((row) => ({ ...row, device: device(row.name) }))), log };
}
