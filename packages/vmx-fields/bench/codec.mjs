// What reading and writing the structures of L1 costs beside a copy of all fields. Ratios of one run; build first.
import {
  decodeEvmcs,
  decodeVmcs12,
  encodeEvmcs,
  encodeVmcs12,
  fieldByEncoding,
  fieldRows,
  msrBitmapBit,
  Vmcs,
} from '@nvmx/vmx-fields';
import { Bench } from 'tinybench';

const [from, to] = [new Vmcs(), new Vmcs()];
const page = new Uint8Array(4096);
const header = decodeVmcs12(page, from);
const encodings = fieldRows.map((row) => row.encoding);
let sum = 0;

const bench = new Bench({ time: 200 });
bench
  .add('copyFrom: all fields', () => to.copyFrom(from))
  .add('decodeVmcs12', () => decodeVmcs12(page, to))
  .add('encodeVmcs12', () => encodeVmcs12(from, header, page))
  .add('decodeEvmcs: nothing clean', () => decodeEvmcs(page, to, { cleanFields: 0 }))
  .add('decodeEvmcs: all clean', () => decodeEvmcs(page, to, { cleanFields: 0xffff }))
  .add('encodeEvmcs', () => encodeEvmcs(from, page))
  .add('fieldByEncoding: each field once', () => {
    for (const encoding of encodings) sum += fieldByEncoding(encoding).row.word;
  })
  .add('msrBitmapBit: 256 MSRs', () => {
    for (let msr = 0xc000_0000; msr < 0xc000_0100; msr += 1) sum += msrBitmapBit(msr, 'write');
  });
await bench.run();

const nanoseconds = bench.tasks.map((task) => task.result.latency.mean * 1e6);
for (const [index, task] of bench.tasks.entries()) {
  const ratio = (nanoseconds[index] / nanoseconds[0]).toFixed(1).padStart(6);
  console.log(`vmx-fields  ${task.name.padEnd(34)} ${ratio} x  ${nanoseconds[index].toFixed(0).padStart(6)} ns`);
}
if (sum === 0) throw new Error('vmx-fields: the benchmark computed nothing');
