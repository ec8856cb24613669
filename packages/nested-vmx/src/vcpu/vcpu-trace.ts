import type { TraceSink } from '@nvmx/guest-memory';
import { exitReasonName, field, secondary, type Vmcs } from '@nvmx/vmx-fields';
import { hasSecondary } from '../controls.ts';
import type { EntryCheck } from '../nested/entry-checks.ts';
import type { ReflectedExit } from '../nested/nested-exit.ts';
import type { Vcpu } from './vcpu.ts';

/** KVM's tracepoints of one vCPU. Without a sink each call costs one branch. */
export class VcpuTrace {
  readonly #vcpu: Vcpu;
  readonly #sink: TraceSink | undefined;

  constructor(vcpu: Vcpu, sink: TraceSink | undefined) {
    this.#vcpu = vcpu;
    this.#sink = sink;
  }

  entry(): void {
    if (this.#sink === undefined) return;
    const { vmcs, id } = this.#vcpu;
    this.#sink({
      name: 'kvm_entry',
      vcpu_id: id,
      rip: vmcs.readBig(field.GUEST_RIP),
      intr_info: vmcs.read32(field.VM_ENTRY_INTR_INFO_FIELD),
      error_code: vmcs.read32(field.VM_ENTRY_EXCEPTION_ERROR_CODE),
    });
  }

  exit(reason: number): void {
    if (this.#sink !== undefined) this.#sink({ name: 'kvm_exit', ...this.#exitFields(reason) });
  }

  /** An exit of L2, also one that L0 keeps. */
  nestedExit(): void {
    if (this.#sink === undefined) return;
    this.#sink({ name: 'kvm_nested_vmexit', ...this.#exitFields(this.#vcpu.vmcs02.read32(field.VM_EXIT_REASON)) });
  }

  nestedEntry(): void {
    if (this.#sink === undefined) return;
    const { nested, vmcs01 } = this.#vcpu;
    const { vmcs12 } = nested;
    const nestedEpt = hasSecondary(vmcs12, secondary.SECONDARY_EXEC_ENABLE_EPT);
    this.#sink({
      name: 'kvm_nested_vmenter',
      rip: vmcs01.readBig(field.GUEST_RIP),
      vmcs: nested.currentVmptr,
      nested_rip: vmcs12.readBig(field.GUEST_RIP),
      int_ctl: vmcs12.read32(field.CPU_BASED_VM_EXEC_CONTROL),
      event_inj: vmcs12.read32(field.VM_ENTRY_INTR_INFO_FIELD),
      nested_ept: nestedEpt,
      nested_eptp: nestedEpt ? vmcs12.readBig(field.EPT_POINTER) : undefined,
      guest_cr3: nestedEpt ? undefined : vmcs12.readBig(field.GUEST_CR3),
    });
  }

  nestedEntryFailed(check: EntryCheck): void {
    if (this.#sink === undefined) return;
    this.#sink({ name: 'kvm_nested_vmenter_failed', msg: `${check.section}: ${check.id}`, err: 0 });
  }

  nestedExitInject(exit: ReflectedExit): void {
    if (this.#sink === undefined) return;
    this.#sink({
      name: 'kvm_nested_vmexit_inject',
      reason: exitReasonName(exit.reason),
      exit_info1: pair(exit.qualification?.low ?? 0, exit.qualification?.high ?? 0),
      exit_info2: 0n,
      exit_int_info: exit.interruptionInfo ?? 0,
      exit_int_info_err: exit.interruptionErrorCode ?? 0,
    });
  }

  pageFault(address: number, qualification: number): void {
    if (this.#sink === undefined) return;
    const { id, vmcs } = this.#vcpu;
    this.#sink({
      name: 'kvm_page_fault',
      vcpu_id: id,
      guest_rip: vmcs.readBig(field.GUEST_RIP),
      fault_address: address,
      error_code: qualification,
    });
  }

  #exitFields(reason: number) {
    const { vmcs, id } = this.#vcpu;
    return {
      vcpu_id: id,
      exit_reason: exitReasonName(reason),
      guest_rip: vmcs.readBig(field.GUEST_RIP),
      info1: vmcs.readBig(field.EXIT_QUALIFICATION),
      info2: vectoringOf(vmcs),
      intr_info: vmcs.read32(field.VM_EXIT_INTR_INFO),
      error_code: vmcs.read32(field.VM_EXIT_INTR_ERROR_CODE),
    };
  }
}

const vectoringOf = (vmcs: Vmcs): bigint => BigInt(vmcs.read32(field.IDT_VECTORING_INFO_FIELD));
const pair = (low: number, high: number): bigint => (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
