import type { Hva } from '@nvmx/guest-memory';
import { drive } from '@nvmx/sync';
import { describe, expect, test } from 'vitest';
import {
  at,
  createWorld,
  exhaust,
  failure,
  pages,
  readByte,
  runToPoint,
  type World,
  writeByte,
} from './support/world.ts';

const BEFORE = 'host mm: before the pte change';

/** A world whose first four host pages hold 1, 2, 3, 4. */
function populated(): World {
  const world = createWorld();
  for (let i = 0; i < 4; i++) writeByte(world, at(world.hva, i), i + 1);
  return world;
}

describe('merge()', () => {
  function twins(): World {
    const world = populated();
    writeByte(world, at(world.hva, 1), 1);
    return world;
  }

  test('two equal pages share one frame, copy-on-write, and the other frame is free', () => {
    const { host, memory, hva } = twins();
    const [keep, drop] = [host.translate(hva)!, host.translate(at(hva, 1))!];
    drive(host.merge({ keep: hva, drop: at(hva, 1) }));
    for (const i of [0, 1]) expect(host.pte(at(hva, i))).toEqual({ pfn: keep, writable: false, cow: true });
    expect(memory.frames.birth(drop)).toBe(0);
    expect(memory.frames.references(keep)).toBe(2);
  });

  test('a write to either page copies it, and leaves the other alone; the last sharer keeps the frame', () => {
    for (const writer of [0, 1]) {
      const world = twins();
      const { host, memory, hva } = world;
      drive(host.merge({ keep: hva, drop: at(hva, 1) }));
      const shared = host.translate(hva)!;
      writeByte(world, at(hva, writer), 77);
      expect(readByte(world, at(hva, 1 - writer))).toBe(1);
      expect(host.translate(at(hva, writer))).not.toBe(shared);
      writeByte(world, at(hva, 1 - writer), 78);
      expect(host.translate(at(hva, 1 - writer))).toBe(shared);
      expect(memory.frames.references(shared)).toBe(1);
    }
  });

  test('a write that finds itself the last user meanwhile keeps the frame, since somebody may have pinned it', () => {
    const world = twins();
    const { host, memory, hva } = world;
    drive(host.merge({ keep: hva, drop: at(hva, 1) }));
    const shared = host.translate(hva)!;
    const write = host.fault(hva, { write: true });
    expect(runToPoint(write, BEFORE)).toBe(true);
    drive(host.discard(pages(hva, 1)));
    expect(drive(host.fault(hva, { write: true }))).toBe(shared);
    memory.frames.pin(shared);
    expect(drive(write)).toBe(shared);
    expect(host.translate(hva)).toBe(shared);
    memory.frames.unpin(shared);
  });

  test('three pages can share, and each leaves alone', () => {
    const world = twins();
    const { host, memory, hva } = world;
    writeByte(world, at(hva, 2), 1);
    drive(host.merge({ keep: hva, drop: at(hva, 1) }));
    drive(host.merge({ keep: at(hva, 1), drop: at(hva, 2) }));
    expect(memory.frames.references(host.translate(hva)!)).toBe(3);
    drive(host.discard(pages(hva, 0)));
    writeByte(world, at(hva, 2), 5);
    expect([0, 1, 2].map((i) => readByte(world, at(hva, i)))).toEqual([0, 1, 5]);
  });

  test('different bytes are EAGAIN, at the first and the last byte, and no byte is lost', () => {
    for (const offset of [0, 4095]) {
      const world = twins();
      writeByte(world, (at(world.hva, 1) + offset) as Hva, 0x55);
      expect(failure(() => world.host.merge({ keep: world.hva, drop: at(world.hva, 1) }))).toBe('EAGAIN');
      expect(readByte(world, (at(world.hva, 1) + offset) as Hva)).toBe(0x55);
      expect(readByte(world, world.hva)).toBe(1);
      writeByte(world, world.hva, 2);
      expect(readByte(world, at(world.hva, 1))).toBe(offset === 0 ? 0x55 : 1);
    }
  });

  test('a page that is written after the comparison keeps its bytes: EAGAIN', () => {
    const world = twins();
    const { host, hva } = world;
    const op = host.merge({ keep: hva, drop: at(hva, 1) });
    for (let i = 0; i < 3; i++) expect(runToPoint(op, BEFORE)).toBe(true);
    writeByte(world, at(hva, 1), 99);
    expect(failure(() => op)).toBe('EAGAIN');
    expect([0, 1].map((i) => readByte(world, at(hva, i)))).toEqual([1, 99]);
  });

  test('a pinned page is EBUSY, whichever it is, also when it is pinned late', () => {
    for (const which of [0, 1]) {
      const { host, memory, hva } = twins();
      memory.frames.pin(host.translate(at(hva, which))!);
      expect(failure(() => host.merge({ keep: hva, drop: at(hva, 1) }))).toBe('EBUSY');
      expect(host.translate(hva)).not.toBe(host.translate(at(hva, 1)));
    }
    const { host, memory, hva } = twins();
    const op = host.merge({ keep: hva, drop: at(hva, 1) });
    for (let i = 0; i < 3; i++) expect(runToPoint(op, BEFORE)).toBe(true);
    memory.frames.pin(host.translate(at(hva, 1))!);
    expect(failure(() => op)).toBe('EBUSY');
  });

  test('one page twice: EINVAL; no frame: ENOENT; no mapping: EFAULT; shared already: nothing to do', () => {
    const { host, hva } = twins();
    expect(failure(() => host.merge({ keep: hva, drop: (hva + 8) as Hva }))).toBe('EINVAL');
    expect(failure(() => host.merge({ keep: hva, drop: at(hva, 6) }))).toBe('ENOENT');
    expect(failure(() => host.merge({ keep: at(hva, -1), drop: hva }))).toBe('EFAULT');
    drive(host.merge({ keep: hva, drop: at(hva, 1) }));
    expect(failure(() => host.merge({ keep: hva, drop: at(hva, 1) }))).toBe('none');
  });
});

describe('copyOnWrite()', () => {
  test('the page ends in a new frame with the same bytes, and the old one is free', () => {
    const world = populated();
    const old = world.host.translate(world.hva)!;
    const pfn = drive(world.host.copyOnWrite(world.hva));
    expect(world.host.pte(world.hva)).toEqual({ pfn, writable: true, cow: false });
    expect(readByte(world, world.hva)).toBe(1);
    expect(world.memory.frames.birth(old)).toBe(0);
  });

  test('a pinned page keeps its frame: fork copies it for the child', () => {
    const { host, memory, hva } = populated();
    const pfn = host.translate(hva)!;
    memory.frames.pin(pfn);
    expect(drive(host.copyOnWrite(hva))).toBe(pfn);
  });

  test('a page without a frame is populated first; without a mapping, or read-only: EFAULT; without frames: ENOMEM', () => {
    const world = populated();
    const { host, memory, hva } = world;
    expect(drive(host.copyOnWrite(at(hva, 6)))).toBe(host.translate(at(hva, 6)));
    expect(failure(() => host.copyOnWrite(at(hva, -1)))).toBe('EFAULT');
    drive(host.protect(pages(hva, 1), { writable: false }));
    expect(failure(() => host.copyOnWrite(at(hva, 1)))).toBe('EFAULT');
    exhaust(memory);
    expect(failure(() => host.copyOnWrite(hva))).toBe('ENOMEM');
    expect(memory.frames.references(host.translate(hva)!)).toBe(1);
    expect(readByte(world, hva)).toBe(1);
    writeByte(world, hva, 9);
  });

  test('a write that comes between fork and copy is in the page', () => {
    const world = populated();
    const op = world.host.copyOnWrite(world.hva);
    for (let i = 0; i < 2; i++) expect(runToPoint(op, BEFORE)).toBe(true);
    writeByte(world, world.hva, 88);
    expect(drive(op)).toBe(world.host.translate(world.hva));
    expect(readByte(world, world.hva)).toBe(88);
  });
});
