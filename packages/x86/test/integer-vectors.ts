import { field } from '@nvmx/vmx-fields';
import { R8, R9, RAX, RBX, RCX, RDI, RDX, RSI } from '../src/index.ts';
import { controls, Guest, layout } from './guest.ts';

/** The same cases as vectors/native.c, which says what each rule means. */
const CASES = 64;
const BUFFER = 512;
const DI = 256;
const SI = 128;
const CF = 1;
const AF = 0x10;
const ZF = 0x40;
const OF = 0x800;
const ALL = 0x8d5;
const HLT = 'f4';
const EXIT_EXCEPTION = 0;
const MASK_64 = 0xffff_ffff_ffff_ffffn;

export interface IntegerVector {
  readonly name: string;
  /** Machine code, hexadecimal. */
  readonly code: string;
  readonly rule: string;
  readonly hash: number;
}

export function parseVectors(text: string): IntegerVector[] {
  return text
    .trimEnd()
    .split('\n')
    .map((line) => {
      const [name, code, rule, hash] = line.split('\t');
      return { name, code, rule, hash: Number.parseInt(hash, 16) };
    });
}

function defined(rule: string, count: number): number {
  switch (rule) {
    case 'all':
      return ALL;
    case 'logic':
      return ALL & ~AF;
    case 'multiply':
      return CF | OF;
    case 'divide':
      return 0;
    case 'bit':
      return CF | ZF;
    case 'scan':
      return ZF;
    default:
  }
  if (count === 0) return ALL;
  const overflow = count === 1 ? ALL : ALL & ~OF;
  return rule.startsWith('rotate') ? overflow : overflow & ~AF;
}

/** The fixed sequence of inputs. */
class Inputs {
  #seed = 2463534242;

  next(): number {
    let seed = this.#seed;
    seed ^= seed << 13;
    seed ^= seed >>> 17;
    seed ^= seed << 5;
    this.#seed = seed;
    return seed >>> 0;
  }

  value(): bigint {
    const kind = this.next() & 7;
    const low = BigInt(this.next());
    const high = BigInt(this.next());
    switch (kind) {
      case 0:
        return low & 3n;
      case 1:
        return BigInt.asUintN(64, -(low & 3n));
      case 2:
        return BigInt.asUintN(64, (1n << (low & 63n)) - (high & 1n));
      case 3:
        return BigInt.asUintN(64, BigInt.asIntN(32, low));
      default:
        return (high << 32n) | low;
    }
  }
}

class Hash {
  value = 2166136261;

  mix(low: number, high: number): void {
    let hash = this.value;
    for (let n = 0; n < 32; n += 8) hash = Math.imul(hash ^ ((low >>> n) & 0xff), 16777619);
    for (let n = 0; n < 32; n += 8) hash = Math.imul(hash ^ ((high >>> n) & 0xff), 16777619);
    this.value = hash >>> 0;
  }

  mixBig(value: bigint): void {
    this.mix(Number(value & 0xffff_ffffn), Number(value >> 32n));
  }
}

interface Input {
  readonly registers: ReadonlyMap<number, bigint>;
  readonly flags: number;
}

interface Case {
  readonly number: number;
  readonly inputs: Inputs;
  readonly hash: Hash;
  readonly detail: ((line: string) => void) | undefined;
}

const inputRegisters = [RAX, RBX, RCX, RDX, R8, R9] as const;

/** Runs vectors in a guest and gives the hash that the processor of the vectors gave. */
export class VectorRunner {
  readonly #guest = new Guest({ controls: { proc: controls.HLT } });

  constructor() {
    this.#guest.set(field.EXCEPTION_BITMAP, 0xffff_ffff);
  }

  /** `detail` gets one line a case, in the form that native.c prints. */
  run(vector: IntegerVector, detail?: (line: string) => void): number {
    this.#guest.load(layout.code, vector.code + HLT);
    const inputs = new Inputs();
    const hash = new Hash();
    for (let number = 0; number < CASES; number++) this.#runCase(vector, { number, inputs, hash, detail });
    return hash.value;
  }

  #runCase(vector: IntegerVector, { number, inputs, hash, detail }: Case): void {
    const { registers } = this.#guest.processor;
    const input = this.#prepare(vector, inputs, number);
    const { rule } = vector;
    const width = Number(/\d+/.exec(rule)?.[0] ?? 64);
    const count = countOf(rule, input.registers.get(RCX) ?? 0n, width);
    let mask = defined(rule, count);
    if (width <= 16 && count >= width && rule.startsWith('shift')) mask &= ~CF;
    const failed = this.#execute();
    if (rule.startsWith('shift16d') && count > 16) return;
    const outputs = inputRegisters.map((register) => (failed ? 0n : registers.big(register)));
    const flags = failed ? 0 : this.#guest.get(field.GUEST_RFLAGS) & mask;
    for (const value of outputs) hash.mixBig(value);
    hash.mixBig(failed ? 0n : (registers.big(RSI) - BigInt(layout.data)) & MASK_64);
    hash.mixBig(failed ? 0n : (registers.big(RDI) - BigInt(layout.data)) & MASK_64);
    hash.mix(flags, 0);
    for (let n = 0; n < BUFFER; n += 8) {
      hash.mix(this.#guest.read32(layout.data + n), this.#guest.read32(layout.data + n + 4));
    }
    detail?.(describe({ number, failed, input, outputs, flags, hash: hash.value }));
  }

  #prepare(vector: IntegerVector, inputs: Inputs, number: number): Input {
    const values = new Map<number, bigint>();
    for (const register of inputRegisters) values.set(register, inputs.value());
    const flags = (inputs.next() & ALL) | 2;
    for (let at = 0; at < BUFFER; at += 8) this.#guest.write64(layout.data + at, inputs.value());
    const get = (register: number): bigint => values.get(register) as bigint;
    if (vector.rule === 'bit' && vector.name.includes('(')) {
      values.set(RBX, BigInt.asUintN(64, BigInt.asIntN(16, get(RBX) << 6n) >> 6n));
    }
    if (vector.name.includes('rep')) values.set(RCX, get(RCX) & 15n);
    if (vector.rule === 'divide' && (number & 3) !== 0) {
      const sign = BigInt.asUintN(64, BigInt.asIntN(64, get(RAX)) >> 63n);
      values.set(RDX, (number & 1) === 1 ? get(RDX) & 3n : sign);
    }
    const { registers } = this.#guest.processor;
    for (const [register, value] of values) registers.setBig(register, value);
    registers.setBig(RSI, BigInt(layout.data + SI));
    registers.setBig(RDI, BigInt(layout.data + DI));
    this.#guest.set(field.GUEST_RFLAGS, flags);
    return { registers: values, flags };
  }

  /** True when the form raised a divide error. */
  #execute(): boolean {
    this.#guest.set(field.GUEST_RIP, layout.code);
    this.#guest.set(field.GUEST_RSP, layout.stack);
    return this.#guest.resume() === EXIT_EXCEPTION;
  }
}

function countOf(rule: string, rcx: bigint, width: number): number {
  const text = rule.split(':')[1];
  if (text === undefined) return 0;
  const count = text === 'cl' ? Number(rcx & 0xffn) : Number(text);
  return count & (width === 64 ? 63 : 31);
}

function describe(o: {
  readonly number: number;
  readonly failed: boolean;
  readonly input: Input;
  readonly outputs: readonly bigint[];
  readonly flags: number;
  readonly hash: number;
}): string {
  const hex = (value: bigint): string => value.toString(16).padStart(16, '0');
  const before = inputRegisters.map((register) => hex(o.input.registers.get(register) as bigint));
  const hash = o.hash.toString(16).padStart(8, '0');
  const flags = (o.input.flags & ALL).toString(16);
  const after = o.outputs.map(hex);
  return [o.number, o.failed ? 1 : 0, ...before, flags, '>', ...after, o.flags.toString(16), hash].join(' ');
}
