/** Whether IA32_PAT may hold the two halves: each byte is a memory type that exists, 0, 1, 4, 5, 6 or 7. */
export function isPat(low: number, high: number): boolean {
  for (const half of [low, high]) {
    for (let shift = 0; shift < 32; shift += 8) {
      const type = (half >>> shift) & 0xff;
      if (type > 7 || type === 2 || type === 3) return false;
    }
  }
  return true;
}
