import { describe, expect, test } from 'vitest';
import { AssertionError, assert, OperatingError } from '../src/index.ts';

describe('OperatingError', () => {
  test('has a code, a text and details', () => {
    const error = new OperatingError('EFAULT', 'pfncache: refresh failed: gpa 0x1000 has no memslot', { gpa: 0x1000 });
    expect(error).toMatchObject({ name: 'OperatingError', code: 'EFAULT', details: { gpa: 0x1000 } });
    expect(error).toBeInstanceOf(Error);
    expect(String(error)).toBe('OperatingError: pfncache: refresh failed: gpa 0x1000 has no memslot');
  });

  test('details are empty and there is no cause unless given', () => {
    const error = new OperatingError('EINVAL', 'text');
    expect(error.details).toEqual({});
    expect('cause' in error).toBe(false);
    const cause = new RangeError('inner');
    expect(new OperatingError('ENOMEM', 'text', {}, { cause }).cause).toBe(cause);
  });
});

describe('assert', () => {
  test('lets what holds pass, and narrows', () => {
    const value: number | undefined = [4][0];
    assert(value !== undefined, 'there is one');
    expect(value.toFixed(1)).toBe('4.0');
  });

  test.each([false, 0, '', null, undefined, Number.NaN])('%s fails with the sentence', (condition) => {
    expect(() => assert(condition, 'a sentence')).toThrow(new AssertionError('a sentence'));
    expect(() => assert(condition, () => 'a sentence')).toThrow(new AssertionError('a sentence'));
  });

  test('a sentence that is a function is not made unless it is needed', () => {
    assert(true, () => {
      throw new Error('made');
    });
  });
});
