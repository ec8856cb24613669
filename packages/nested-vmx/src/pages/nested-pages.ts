import { type Gpa, gpa, gpaToGfn, pageOffset, pfnToHpa } from '@nvmx/guest-memory';
import type { HeldPage, PageBackend, PageRole, VmMemory } from '@nvmx/mmu-events';
import { type Op, point } from '@nvmx/sync';
import { addressHigh, addressLow, field, pinBased, procBased, secondary, type Vmcs } from '@nvmx/vmx-fields';
import { clearControl, hasPin, hasProc, hasSecondary, setControl } from '../controls.ts';

const CR8_EXITING = procBased.CPU_BASED_CR8_LOAD_EXITING | procBased.CPU_BASED_CR8_STORE_EXITING;

/** Secondary controls that VM entry allows only with the TPR shadow, or that reach the virtual-APIC page by themselves. */
const needsVirtualApicPage = [
  secondary.SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES,
  secondary.SECONDARY_EXEC_VIRTUALIZE_X2APIC_MODE,
  secondary.SECONDARY_EXEC_APIC_REGISTER_VIRT,
  secondary.SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY,
] as const;

/** Partner: the store of a programmed address into vmcs02 is read by the processor from VM entry on. */
const programming = point('vmcs02 <- host-physical address');

/** L1's page behind one role is out of reach: the run of L2 cannot go on (KVM: KVM_EXIT_INTERNAL_ERROR). */
export interface UnreachablePage {
  readonly ok: false;
  readonly role: PageRole;
  readonly gpa: Gpa;
  readonly code: string;
}
/** What came of programming the pages of a vmcs12 into vmcs02. */
export type ProgramOutcome = { readonly ok: true } | UnreachablePage;

/** How a page that hardware uses through vmcs02 is named, needed and given up. One row a page. */
interface HardwarePageRow {
  readonly role: PageRole;
  readonly addressField: number;
  /** Written by hardware or L0 while L2 runs: marked dirty when the run ends. */
  readonly written: boolean;
  isUsed(vmcs12: Vmcs): boolean;
  /** Puts vmcs02 into the state that KVM gives it when the page is reachable, beside the address itself. */
  enable(vmcs12: Vmcs, vmcs02: Vmcs): void;
  /** Degrades vmcs02. False when L2 cannot run without the page. */
  degrade(vmcs12: Vmcs, vmcs02: Vmcs): boolean;
}

const hardwarePageRows: readonly HardwarePageRow[] = [
  {
    role: 'apic-access',
    addressField: field.APIC_ACCESS_ADDR,
    written: false,
    isUsed: (vmcs12) => hasSecondary(vmcs12, secondary.SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES),
    enable: () => {},
    degrade: () => false,
  },
  {
    role: 'virtual-apic',
    addressField: field.VIRTUAL_APIC_PAGE_ADDR,
    written: true,
    isUsed: (vmcs12) => hasProc(vmcs12, procBased.CPU_BASED_TPR_SHADOW),
    enable: (_vmcs12, vmcs02) => setControl(vmcs02, field.CPU_BASED_VM_EXEC_CONTROL, procBased.CPU_BASED_TPR_SHADOW),
    degrade: (vmcs12, vmcs02) => {
      const l1SeesEveryTprAccess =
        (vmcs12.read32(field.CPU_BASED_VM_EXEC_CONTROL) & CR8_EXITING) === CR8_EXITING &&
        !needsVirtualApicPage.some((control) => hasSecondary(vmcs12, control));
      if (l1SeesEveryTprAccess) clearControl(vmcs02, field.CPU_BASED_VM_EXEC_CONTROL, procBased.CPU_BASED_TPR_SHADOW);
      return l1SeesEveryTprAccess;
    },
  },
  {
    role: 'pi-desc',
    addressField: field.POSTED_INTR_DESC_ADDR,
    written: true,
    isUsed: (vmcs12) => hasPin(vmcs12, pinBased.PIN_BASED_POSTED_INTR),
    enable: (_vmcs12, vmcs02) => setControl(vmcs02, field.PIN_BASED_VM_EXEC_CONTROL, pinBased.PIN_BASED_POSTED_INTR),
    degrade: (_vmcs12, vmcs02) => {
      clearControl(vmcs02, field.PIN_BASED_VM_EXEC_CONTROL, pinBased.PIN_BASED_POSTED_INTR);
      return true;
    },
  },
];

/** One hardware page: its hold on L1's page, and what was programmed into vmcs02 from it. */
class HardwarePage {
  readonly row: HardwarePageRow;
  readonly held: HeldPage;
  /** True from programming to the end of the run: only such pages take part in the entry test. */
  used = false;
  programmedStamp = 0;

  constructor(row: HardwarePageRow, backend: PageBackend, vcpu: number) {
    this.row = row;
    this.held = backend.openPage({ role: row.role, vcpu, access: 'write', usedByHardware: true });
  }
}

/**
 * The L1 pages of one nested context. Programs the host-physical addresses of those that vmcs12 uses into vmcs02, and
 * answers before each VM entry whether hardware may still use them.
 *
 * Unlike nested_get_vmcs12_pages() of the series: the entry test compares what was programmed (stamp) and not a valid
 * flag that another user of the cache can set again, it looks only at pages that the current vmcs12 uses, and a
 * re-validation programs pages and nothing else (no PDPTRs).
 */
export class NestedPages {
  readonly msrBitmap: HeldPage;
  readonly #hardware: readonly HardwarePage[];

  constructor(backend: PageBackend, vcpu: number) {
    this.msrBitmap = backend.openPage({ role: 'msr-bitmap', vcpu, access: 'read', usedByHardware: false });
    this.#hardware = hardwarePageRows.map((row) => new HardwarePage(row, backend, vcpu));
  }

  get virtualApic(): HeldPage {
    return this.page('virtual-apic');
  }

  get piDescriptor(): HeldPage {
    return this.page('pi-desc');
  }

  /** L1's MSR bitmap as vmcs12 names it. */
  msrBitmapAddress(vmcs12: Vmcs): Gpa {
    return addressIn(vmcs12, field.MSR_BITMAP);
  }

  /** The hold behind a role that hardware uses. */
  page(role: PageRole): HeldPage {
    for (const page of this.#hardware) if (page.row.role === role) return page.held;
    throw new RangeError(`nested-vmx: no hardware page has the role ${role}`);
  }

  /** True while vmcs02 names the page of this role. */
  isUsed(role: PageRole): boolean {
    return this.#hardware.some((page) => page.row.role === role && page.used);
  }

  /** Makes every page that vmcs12 uses current and programs vmcs02 with it. May sleep: runs outside guest mode. */
  *program(vmcs12: Vmcs, vmcs02: Vmcs): Op<ProgramOutcome> {
    for (const page of this.#hardware) {
      page.used = false;
      if (!page.row.isUsed(vmcs12)) continue;
      const address = addressIn(vmcs12, page.row.addressField);
      const held = page.held.tryHold(address) ? HELD : yield* page.held.hold(address);
      if (!held.ok) {
        if (page.row.degrade(vmcs12, vmcs02)) continue;
        return { ok: false, role: page.row.role, gpa: address, code: held.code };
      }
      yield programming;
      this.#programPage(page, address, vmcs02);
      page.row.enable(vmcs12, vmcs02);
    }
    return { ok: true };
  }

  /** The entry test: true when hardware may use every address that vmcs02 was programmed with. Never sleeps. */
  isCurrent(): boolean {
    for (const page of this.#hardware) if (page.used && !this.mayStillUse(page)) return false;
    return true;
  }

  /** Hardware may have written since the last VM entry: the dirty log says so now (nested_mark_vmcs12_pages_dirty()). */
  markWritten(vm: VmMemory): void {
    for (const { used, row, held } of this.#hardware) {
      if (used && row.written && held.gpa !== undefined) vm.markDirty(gpaToGfn(held.gpa));
    }
  }

  /** The end of a run of L2: pages that hardware or L0 wrote are dirty. Partner of program(). */
  release(): void {
    for (const page of this.#hardware) {
      if (!page.used) continue;
      page.used = false;
      page.held.release({ dirty: page.row.written });
    }
  }

  /** VMCLEAR, VMXOFF, reset: gives up every hold. */
  *deactivate(): Op<void> {
    for (const page of this.#hardware) {
      page.used = false;
      yield* page.held.deactivate();
    }
    yield* this.msrBitmap.deactivate();
  }

  /** Decision: validity is what was programmed, not what the cache says of itself. */
  protected mayStillUse(page: { readonly held: HeldPage; readonly programmedStamp: number }): boolean {
    return page.held.isCurrent(page.programmedStamp);
  }

  #programPage(page: HardwarePage, address: Gpa, vmcs02: Vmcs): void {
    const target = pfnToHpa(page.held.pfn) + pageOffset(address);
    vmcs02.write64(page.row.addressField, addressLow(target), addressHigh(target));
    page.programmedStamp = page.held.stamp();
    page.used = true;
  }
}

const HELD: { readonly ok: true } = { ok: true };

/** A control word's address as a gpa. Entry checks have bounded it by the physical-address width. */
function addressIn(vmcs: Vmcs, addressField: number): Gpa {
  return gpa(vmcs.readAddress(addressField));
}
