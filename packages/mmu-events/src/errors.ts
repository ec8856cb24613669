import { OperatingError } from '@nvmx/guest-memory';

/** An operating error whose text names operation, address and reason. */
export function operatingError(
  code: OperatingError['code'],
  operation: string,
  reason: string,
  details: Readonly<Record<string, unknown>>,
): OperatingError {
  const where = Object.entries(details).map(([name, value]) => `${name} ${describe(value)}`);
  return new OperatingError(code, `mmu-events: ${operation} failed: ${where.join(', ')} ${reason}`, details);
}

/** Whether an error is an operating error with the code. */
export function hasCode(error: unknown, code: string): error is OperatingError {
  return error instanceof OperatingError && error.code === code;
}

function describe(value: unknown): string {
  return typeof value === 'number' && value >= 4096 ? `0x${value.toString(16)}` : String(value);
}
