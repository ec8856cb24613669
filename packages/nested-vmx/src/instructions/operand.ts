import { accessRights, exceptionVector, field, isCanonicalPair, type Vmcs } from '@nvmx/vmx-fields';
import type { LinearOutcome } from '../mmu/l1-linear.ts';
import { exceptionEvent, type InjectedEvent } from '../vcpu/event-info.ts';
import { readRegister, writeRegister } from '../vcpu/guest-registers.ts';
import type { Vcpu } from '../vcpu/vcpu.ts';

/** Fields of the VM-exit instruction information (SDM volume 3, "VM-Exit Instruction-Information Field"). */
const SCALE = 0x3;
const ADDRESS_SIZE_SHIFT = 7;
const IS_REGISTER = 1 << 10;
const NO_INDEX = 1 << 22;
const NO_BASE = 1 << 27;

const addressMasks = [0xffffn, 0xffff_ffffn, 0xffff_ffff_ffff_ffffn] as const;
const segmentNames = ['ES', 'CS', 'SS', 'DS', 'FS', 'GS'] as const;
const FS = 4;
const SS = 2;

/** An operand in memory: its linear address, or the exception that forming it raises. */
export type MemoryOperand =
  | { readonly ok: true; readonly address: bigint }
  | { readonly ok: false; readonly event: InjectedEvent };

/** The operand of a VMX instruction that L1 executed, from the exit information that the processor left in vmcs01. */
export class VmxOperand {
  readonly #vcpu: Vcpu;
  readonly #information: number;

  constructor(vcpu: Vcpu) {
    this.#vcpu = vcpu;
    this.#information = vcpu.vmcs.read32(field.VMX_INSTRUCTION_INFO);
  }

  /** VMREAD and VMWRITE: the first operand is a register. */
  get isRegister(): boolean {
    return (this.#information & IS_REGISTER) !== 0;
  }

  /** The register that the first operand names. */
  get register1(): number {
    return (this.#information >>> 3) & 15;
  }

  /** The register that the second operand names. */
  get register2(): number {
    return this.#information >>> 28;
  }

  readRegister(number: number): bigint {
    return readRegister({ registers: this.#vcpu.processor.registers, vmcs: this.#vcpu.vmcs }, number);
  }

  writeRegister(number: number, value: bigint): void {
    writeRegister({ registers: this.#vcpu.processor.registers, vmcs: this.#vcpu.vmcs }, number, value);
  }

  /** The linear address of the memory operand (get_vmx_mem_address(), 64-bit mode). */
  memory(): MemoryOperand {
    const { vmcs } = this.#vcpu;
    const information = this.#information;
    let offset = vmcs.readBig(field.EXIT_QUALIFICATION);
    if ((information & NO_BASE) === 0) offset += this.readRegister((information >>> 23) & 15);
    if ((information & NO_INDEX) === 0) {
      offset += this.readRegister((information >>> 18) & 15) << BigInt(information & SCALE);
    }
    offset &= addressMasks[(information >>> ADDRESS_SIZE_SHIFT) & 3] ?? addressMasks[2];
    const segment = (information >>> 15) & 7;
    const address = BigInt.asUintN(64, offset + segmentBase(vmcs, segment));
    if (isCanonicalPair(Number(address >> 32n), { addressBits: 48 })) return { ok: true, address };
    const vector = segment === SS ? exceptionVector.SS : exceptionVector.GP;
    return { ok: false, event: exceptionEvent(vector, 0) };
  }

  /** Reads `bytes` at the memory operand. `undefined`: the exception is queued for L1. */
  readMemory(bytes: number): Uint8Array | undefined {
    const operand = this.memory();
    if (!operand.ok) return this.#raise(operand.event);
    const target = new Uint8Array(bytes);
    return this.#raiseFault(this.#vcpu.linear.read(this.#vcpu.vmcs, operand.address, target)) ? target : undefined;
  }

  /** Writes to the memory operand. False: the exception is queued for L1. */
  writeMemory(source: Uint8Array): boolean {
    const operand = this.memory();
    if (!operand.ok) {
      this.#raise(operand.event);
      return false;
    }
    return this.#raiseFault(this.#vcpu.linear.write(this.#vcpu.vmcs, operand.address, source));
  }

  /** The 64-bit physical address that VMXON, VMCLEAR and VMPTRLD take from memory. */
  readPointer(): bigint | undefined {
    const bytes = this.readMemory(8);
    return bytes === undefined ? undefined : new DataView(bytes.buffer).getBigUint64(0, true);
  }

  #raise(event: InjectedEvent): undefined {
    this.#vcpu.queueEvent(event);
    return undefined;
  }

  #raiseFault(outcome: LinearOutcome): boolean {
    if (outcome.ok) return true;
    this.#vcpu.queuePageFault(outcome);
    return false;
  }
}

/** 64-bit mode adds the bases of FS and GS only. */
function segmentBase(vmcs: Vmcs, segment: number): bigint {
  const longMode = (vmcs.read32(field.GUEST_CS_AR_BYTES) & accessRights.L) !== 0;
  if (longMode && segment < FS) return 0n;
  return vmcs.readBig(field[`GUEST_${segmentNames[segment] ?? 'DS'}_BASE`]);
}

/** A 64-bit value as it stands in memory. */
export function littleEndian(value: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  return bytes;
}
