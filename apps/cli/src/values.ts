import { type BackendName, backendNames, isBackendName } from './backends.ts';
import { UsageError } from './errors.ts';

const unitBytes: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };

/** A size such as `64M`: a whole number, and K, M or G for KiB, MiB or GiB. Throws UsageError for any other text. */
export function parseSize(option: string, text: string): number {
  const [, digits, unit = ''] = /^(\d{1,15})([KMG]?)$/i.exec(text) ?? [];
  if (digits === undefined) throw new UsageError(`--${option} ${text} is no size: write a number with K, M or G`);
  return Number(digits) * unitBytes[unit.toUpperCase()]!;
}

/** A whole number between the bounds, both included. Throws UsageError for anything else. */
export function parseCount(option: string, text: string, o: { readonly min: number; readonly max: number }): number {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= o.min && value <= o.max) return value;
  throw new UsageError(`--${option} ${text} is no whole number from ${o.min} to ${o.max}`);
}

/** Seconds, more than none; a fraction may be given. Throws UsageError for anything else. */
export function parseSeconds(option: string, text: string): number {
  const value = /^\d{1,9}(\.\d{1,9})?$/.test(text) ? Number(text) : 0;
  if (value > 0) return value;
  throw new UsageError(`--${option} ${text} is no number of seconds above 0`);
}

/** The name of one backend. Throws UsageError for anything else. */
export function parseBackend(option: string, text: string): BackendName {
  if (isBackendName(text)) return text;
  throw new UsageError(`--${option} ${text} is no backend: ${backendNames.join(' or ')}`);
}

/** Names of backends with commas between, each once, in the order given. Throws UsageError for anything else. */
export function parseBackends(option: string, text: string): readonly BackendName[] {
  return [...new Set(text.split(',').map((name) => parseBackend(option, name.trim())))];
}
