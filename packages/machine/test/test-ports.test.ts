import { describe, expect, it } from 'vitest';
import { debugExitPort, markerPort, PortBus, type PortDevice, reportPort } from '../src/index.ts';

describe('the debug-exit port', () => {
  it('takes a 32-bit code', () => {
    const codes: number[] = [];
    busOf(debugExitPort((code) => codes.push(code))).write(0xf4, 4, 0xffff_ffff);
    expect(codes).toEqual([0xffff_ffff]);
  });

  it('takes narrower codes zero-extended, and nothing at its other ports', () => {
    const codes: number[] = [];
    const bus = busOf(debugExitPort((code) => codes.push(code)));
    bus.write(0xf4, 1, 0x1ff);
    bus.write(0xf4, 2, 0x1_0002);
    bus.write(0xf5, 1, 3);
    expect(codes).toEqual([0xff, 2]);
  });
});

describe('the marker port', () => {
  it('passes each number on', () => {
    const markers: number[] = [];
    const bus = busOf(markerPort((marker) => markers.push(marker)));
    for (const marker of [1, 2, 0x8000_0000]) bus.write(0xf4, 4, marker);
    expect(markers).toEqual([1, 2, 0x8000_0000]);
  });
});

describe('the report port', () => {
  it('pairs an index with the value after it', () => {
    const figures: [number, number][] = [];
    const bus = busOf(reportPort((index, value) => figures.push([index, value])));
    for (const value of [0, 7, 3, 0]) bus.write(0xf4, 4, value);
    expect(figures).toEqual([
      [0, 7],
      [3, 0],
    ]);
  });

  it('reports nothing for an index alone', () => {
    const figures: number[] = [];
    busOf(reportPort((index) => figures.push(index))).write(0xf4, 4, 5);
    expect(figures).toEqual([]);
  });
});

describe('a reset', () => {
  it('forgets an index whose value never came', () => {
    const figures: [number, number][] = [];
    const bus = busOf(reportPort((index, value) => figures.push([index, value])));
    bus.write(0xf4, 4, 5);
    bus.reset();
    bus.write(0xf4, 4, 1);
    bus.write(0xf4, 4, 2);
    expect(figures).toEqual([[1, 2]]);
  });

  it('reaches devices that have one and passes over those that have none', () => {
    expect(() => busOf(debugExitPort(() => {})).reset()).not.toThrow();
  });
});

describe('a read of a test port', () => {
  it('is all ones and has no effect', () => {
    const calls: number[] = [];
    const bus = busOf(debugExitPort((code) => calls.push(code)));
    expect([bus.read(0xf4, 1), bus.read(0xf4, 4)]).toEqual([0xff, 0xffff_ffff]);
    expect(calls).toEqual([]);
  });
});

function busOf(device: PortDevice): PortBus {
  return new PortBus([{ name: 'test', first: 0xf4, last: 0xf7, accessBytes: 4, device }]);
}
