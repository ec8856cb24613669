import { expect, test } from 'vitest';
import { hasCode, operatingError } from '../src/errors.ts';

test('an operating error names operation, address and reason, and keeps the details as data', () => {
  const error = operatingError('EBUSY', 'migrate', 'is pinned', { hva: 0x7000_0000, pages: 3 });
  expect(error.message).toBe('mmu-events: migrate failed: hva 0x70000000, pages 3 is pinned');
  expect(error.code).toBe('EBUSY');
  expect(error.details).toEqual({ hva: 0x7000_0000, pages: 3 });
});

test('an operating error is told by its code, and nothing else is one', () => {
  const error = operatingError('EFAULT', 'fault', 'has no mapping', { hva: 0 });
  expect([hasCode(error, 'EFAULT'), hasCode(error, 'ENOMEM')]).toEqual([true, false]);
  expect([hasCode(new Error('EFAULT'), 'EFAULT'), hasCode(undefined, 'EFAULT')]).toEqual([false, false]);
});
