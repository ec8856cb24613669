/** `12,345`, the same in every locale. */
export function count(value: number): string {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ',');
}

/** A time in a unit that leaves three digits: `812 ns`, `61.2 us`, `1.25 ms`. */
export function duration(nanoseconds: number): string {
  if (nanoseconds < 999.5) return `${digits(nanoseconds)} ns`;
  if (nanoseconds < 999_500) return `${digits(nanoseconds / 1e3)} us`;
  return `${digits(nanoseconds / 1e6)} ms`;
}

/** Three digits that count, and every digit before the point: `0.98`, `12.5`, `1,260`. */
export function digits(value: number): string {
  if (value < 9.995) return value.toFixed(2);
  return value < 99.95 ? value.toFixed(1) : count(value);
}
