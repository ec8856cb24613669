import { createManagedMemory, gfn, gpa, type Hva, hva, type Pfn, pfnToHpa } from '@nvmx/guest-memory';
import { createHostMapBackend } from '@nvmx/host-map';
import { HostAddressSpace, type PageBackend, VmMemory } from '@nvmx/mmu-events';
import { createPfncacheBackend } from '@nvmx/pfncache';
import { drive } from '@nvmx/sync';
import { field, pinBased, procBased, secondary, Vmcs } from '@nvmx/vmx-fields';
import { describe, expect, it } from 'vitest';
import { completePostedInterrupts, NestedPages } from '../../src/index.ts';

const PAGE = 4096;
const APIC_ACCESS = 1;
const VIRTUAL_APIC = 2;
const PI_DESCRIPTOR = 3;
const PI_OFFSET = 0x140;
const SLOT_PAGES = 8;

function world(createBackend: (vm: VmMemory) => PageBackend) {
  const memory = createManagedMemory({ guestFrames: 64, kernelFrames: 16 });
  const host = new HostAddressSpace({ memory });
  const vm = new VmMemory({ host });
  const first = host.mmap({ pages: SLOT_PAGES });
  const second = host.mmap({ pages: SLOT_PAGES });
  const back = (at: Hva, slot = 1) => drive(vm.setMemoryRegion({ slot, gpa: 0, bytes: SLOT_PAGES * PAGE, hva: at }));
  back(first);
  const backend = createBackend(vm);
  const pages = new NestedPages(backend, 0);
  const vmcs12 = new Vmcs();
  const vmcs02 = new Vmcs();
  vmcs12.write32(field.PIN_BASED_VM_EXEC_CONTROL, pinBased.PIN_BASED_POSTED_INTR);
  vmcs12.write32(
    field.CPU_BASED_VM_EXEC_CONTROL,
    procBased.CPU_BASED_TPR_SHADOW | procBased.CPU_BASED_ACTIVATE_SECONDARY_CONTROLS,
  );
  vmcs12.write32(field.SECONDARY_VM_EXEC_CONTROL, secondary.SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES);
  vmcs12.write64(field.APIC_ACCESS_ADDR, APIC_ACCESS * PAGE, 0);
  vmcs12.write64(field.VIRTUAL_APIC_PAGE_ADDR, VIRTUAL_APIC * PAGE, 0);
  vmcs12.write64(field.POSTED_INTR_DESC_ADDR, PI_DESCRIPTOR * PAGE + PI_OFFSET, 0);
  return {
    memory,
    host,
    vm,
    backend,
    pages,
    vmcs12,
    vmcs02,
    hvaOf: (page: number) => hva(first + page * PAGE),
    program: () => drive(pages.program(vmcs12, vmcs02)),
    current: (page: number) => vm.currentPfn(gfn(page)) as Pfn,
    programmed: (word: number) => vmcs02.readAddress(word),
    moveSlot: () => {
      drive(vm.setMemoryRegion({ slot: 1, gpa: 0, bytes: 0, hva: first }));
      back(second, 2);
    },
  };
}

const backends = [
  ['host-map', createHostMapBackend],
  ['pfncache', createPfncacheBackend],
] as const;

describe.each(backends)('NestedPages over %s', (name, createBackend) => {
  it('programs the frame of each used page, with the offset in the page kept', () => {
    const w = world(createBackend);
    expect(w.program()).toEqual({ ok: true });
    expect(w.programmed(field.APIC_ACCESS_ADDR)).toBe(pfnToHpa(w.current(APIC_ACCESS)));
    expect(w.programmed(field.VIRTUAL_APIC_PAGE_ADDR)).toBe(pfnToHpa(w.current(VIRTUAL_APIC)));
    expect(w.programmed(field.POSTED_INTR_DESC_ADDR)).toBe(pfnToHpa(w.current(PI_DESCRIPTOR)) + PI_OFFSET);
    expect(w.pages.isCurrent()).toBe(true);
  });

  it('leaves pages that vmcs12 does not use alone', () => {
    const w = world(createBackend);
    w.vmcs12.write32(field.PIN_BASED_VM_EXEC_CONTROL, 0);
    w.vmcs12.write32(field.CPU_BASED_VM_EXEC_CONTROL, 0);
    expect(w.program()).toEqual({ ok: true });
    expect(w.backend.statistics.maps).toBe(0);
    expect(w.pages.isUsed('virtual-apic')).toBe(false);
  });

  it('an APIC-access page that nothing backs stops the entry', () => {
    const w = world(createBackend);
    w.vmcs12.write64(field.APIC_ACCESS_ADDR, 0x10_0000, 0);
    expect(w.program()).toMatchObject({ ok: false, role: 'apic-access', gpa: 0x10_0000 });
  });

  it('a descriptor that nothing backs takes posted interrupts out of vmcs02, and a later one brings them back', () => {
    const w = world(createBackend);
    const reachable = w.vmcs12.readAddress(field.POSTED_INTR_DESC_ADDR);
    w.vmcs12.write64(field.POSTED_INTR_DESC_ADDR, 0x10_0000, 0);
    w.vmcs02.write32(field.PIN_BASED_VM_EXEC_CONTROL, pinBased.PIN_BASED_POSTED_INTR);
    expect(w.program()).toEqual({ ok: true });
    expect(w.vmcs02.read32(field.PIN_BASED_VM_EXEC_CONTROL) & pinBased.PIN_BASED_POSTED_INTR).toBe(0);
    w.vmcs12.write64(field.POSTED_INTR_DESC_ADDR, reachable, 0);
    expect(w.program()).toEqual({ ok: true });
    expect(w.vmcs02.read32(field.PIN_BASED_VM_EXEC_CONTROL) & pinBased.PIN_BASED_POSTED_INTR).not.toBe(0);
  });

  it('a virtual-APIC page that nothing backs is done without only when L1 sees every access to the TPR', () => {
    const w = world(createBackend);
    w.vmcs12.write32(field.SECONDARY_VM_EXEC_CONTROL, 0);
    w.vmcs12.write64(field.VIRTUAL_APIC_PAGE_ADDR, 0x10_0000, 0);
    expect(w.program()).toMatchObject({ ok: false, role: 'virtual-apic' });
    const cr8 = procBased.CPU_BASED_CR8_LOAD_EXITING | procBased.CPU_BASED_CR8_STORE_EXITING;
    w.vmcs12.write32(field.CPU_BASED_VM_EXEC_CONTROL, w.vmcs12.read32(field.CPU_BASED_VM_EXEC_CONTROL) | cr8);
    expect(w.program()).toEqual({ ok: true });
    expect(w.pages.isUsed('virtual-apic')).toBe(false);
  });

  it('the end of a run marks what may have been written, and nothing else', () => {
    const w = world(createBackend);
    drive(w.vm.setMemoryRegion({ slot: 1, gpa: 0, bytes: SLOT_PAGES * PAGE, hva: w.hvaOf(0), logDirtyPages: true }));
    w.program();
    w.vm.harvestDirty(1);
    w.pages.release();
    expect(w.vm.harvestDirty(1)[0]).toBe((1 << VIRTUAL_APIC) | (1 << PI_DESCRIPTOR));
  });

  it('deactivate gives every page back', () => {
    const w = world(createBackend);
    w.program();
    drive(w.pages.deactivate());
    expect(w.backend.statistics.unmaps).toBe(w.backend.statistics.maps);
  });

  const promises = name === 'pfncache';

  it(`a discarded page ${promises ? 'fails' : 'passes'} the entry test`, () => {
    const w = world(createBackend);
    w.program();
    drive(w.host.discard({ start: w.hvaOf(VIRTUAL_APIC), end: w.hvaOf(VIRTUAL_APIC + 1) }));
    expect(w.pages.isCurrent()).toBe(!promises);
  });

  it(`a page whose memslot is replaced, with no notifier event, ${promises ? 'fails' : 'passes'} the entry test`, () => {
    const w = world(createBackend);
    w.program();
    w.moveSlot();
    expect(w.pages.isCurrent()).toBe(!promises);
  });
});

describe('NestedPages over pfncache', () => {
  it('an address that somebody else made valid again does not pass the entry test (S-1)', () => {
    const w = world(createPfncacheBackend);
    w.program();
    const programmed = w.programmed(field.VIRTUAL_APIC_PAGE_ADDR);
    drive(w.host.migrate(w.hvaOf(VIRTUAL_APIC)));
    drive(w.pages.virtualApic.hold(gpa(VIRTUAL_APIC * PAGE)));
    expect(w.pages.virtualApic.beginUse()).toBe(true);
    w.pages.virtualApic.endUse();
    expect(w.pages.isCurrent()).toBe(false);
    w.program();
    expect(w.pages.isCurrent()).toBe(true);
    expect(w.programmed(field.VIRTUAL_APIC_PAGE_ADDR)).not.toBe(programmed);
  });

  it('a page that vmcs12 stopped using cannot hold an entry back (S-2)', () => {
    const w = world(createPfncacheBackend);
    w.program();
    w.pages.release();
    w.vmcs12.write32(field.SECONDARY_VM_EXEC_CONTROL, 0);
    w.program();
    drive(w.host.migrate(w.hvaOf(APIC_ACCESS)));
    expect(w.pages.isCurrent()).toBe(true);
  });

  it('a second run with nothing changed maps nothing', () => {
    const w = world(createPfncacheBackend);
    w.program();
    w.pages.release();
    const { maps, refreshes } = w.backend.statistics;
    w.program();
    expect(w.backend.statistics).toMatchObject({ maps, refreshes });
  });
});

describe.each(backends)('completePostedInterrupts over %s', (_name, createBackend) => {
  const VECTOR = 0x61;

  function posted(w: ReturnType<typeof world>, o: { readonly notify: boolean }): void {
    const descriptor = w.programmed(field.POSTED_INTR_DESC_ADDR);
    w.memory.u32[descriptor / 4 + (VECTOR >>> 5)] = 1 << (VECTOR & 31);
    w.memory.u32[descriptor / 4 + 8] = o.notify ? 1 : 0;
  }

  it('moves a posted vector into VIRR, clears ON and raises RVI', () => {
    const w = world(createBackend);
    w.program();
    posted(w, { notify: true });
    expect(drive(completePostedInterrupts(w.pages, w.vmcs02))).toBe('moved');
    const virr = w.programmed(field.VIRTUAL_APIC_PAGE_ADDR) + 0x200 + 0x10 * (VECTOR >>> 5);
    expect(w.memory.u32[virr / 4]).toBe(1 << (VECTOR & 31));
    expect(w.vmcs02.read32(field.GUEST_INTR_STATUS)).toBe(VECTOR);
    expect(w.memory.u32[w.programmed(field.POSTED_INTR_DESC_ADDR) / 4 + 8]).toBe(0);
  });

  it('leaves vectors alone while ON is clear', () => {
    const w = world(createBackend);
    w.program();
    posted(w, { notify: false });
    expect(drive(completePostedInterrupts(w.pages, w.vmcs02))).toBe('nothing');
    expect(w.vmcs02.read32(field.GUEST_INTR_STATUS)).toBe(0);
  });

  it('a higher RVI stays', () => {
    const w = world(createBackend);
    w.program();
    posted(w, { notify: true });
    w.vmcs02.write32(field.GUEST_INTR_STATUS, 0x70f0);
    drive(completePostedInterrupts(w.pages, w.vmcs02));
    expect(w.vmcs02.read32(field.GUEST_INTR_STATUS)).toBe(0x70f0);
  });

  it('a descriptor that vmcs02 does not name is unreachable', () => {
    const w = world(createBackend);
    w.vmcs12.write32(field.PIN_BASED_VM_EXEC_CONTROL, 0);
    w.program();
    expect(drive(completePostedInterrupts(w.pages, w.vmcs02))).toBe('unreachable');
  });
});
