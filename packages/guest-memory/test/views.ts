import type { LinearViews } from '../src/index.ts';

/** The typed arrays of a small buffer. */
export function viewsOf(o: { bytes: number; shared: boolean }): LinearViews {
  const buffer = o.shared ? new SharedArrayBuffer(o.bytes) : new ArrayBuffer(o.bytes);
  return {
    u8: new Uint8Array(buffer),
    u16: new Uint16Array(buffer),
    u32: new Uint32Array(buffer),
    i32: new Int32Array(buffer),
    u64: new BigUint64Array(buffer),
  };
}
