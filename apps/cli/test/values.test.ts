import { describe, expect, test } from 'vitest';
import { UsageError } from '../src/errors.ts';
import { parseBackends, parseCount, parseSeconds, parseSize } from '../src/values.ts';

describe('a size', () => {
  test.each([
    ['0', 0],
    ['4096', 4096],
    ['4k', 4096],
    ['64M', 64 * 2 ** 20],
    ['3G', 3 * 2 ** 30],
  ])('%s is %d bytes', (text, bytes) => expect(parseSize('memory', text)).toBe(bytes));

  test.each(['', 'M', '-1M', '1.5G', '64 M', '64MB', '1T', '0x1000', '1e3', '9'.repeat(16)])('"%s" is none', (text) => {
    expect(() => parseSize('memory', text)).toThrow(UsageError);
  });
});

describe('a count', () => {
  const bounds = { min: 1, max: 10 };
  test.each([1, 2, 9, 10])('%d is within 1 to 10', (value) => expect(parseCount('n', `${value}`, bounds)).toBe(value));
  test.each(['0', '11', '', '-1', '1.0', 'one', ' 1', '1e0'])('"%s" is not', (text) => {
    expect(() => parseCount('n', text, bounds)).toThrow(UsageError);
  });
});

describe('seconds', () => {
  test.each([
    ['1', 1],
    ['0.25', 0.25],
    ['999999999', 999_999_999],
  ])('%s', (text, seconds) => expect(parseSeconds('timeout', text)).toBe(seconds));
  test.each(['0', '0.0', '-1', '', '1s', '.5', '1.', 'Infinity', '1e3', '1234567890'])('"%s" is none', (text) => {
    expect(() => parseSeconds('timeout', text)).toThrow(UsageError);
  });
});

describe('backends', () => {
  test('each counts once, in the order given', () => {
    expect(parseBackends('backend', 'pfncache,host-map,pfncache')).toEqual(['pfncache', 'host-map']);
  });
  test.each(['', 'pfncache,', 'kvm', 'Host-Map', 'toString', 'host-map;pfncache'])('"%s" is a usage error', (text) => {
    expect(() => parseBackends('backend', text)).toThrow(UsageError);
  });
});
