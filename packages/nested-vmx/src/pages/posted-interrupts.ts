import { type Gpa, pageOffset } from '@nvmx/guest-memory';
import type { HeldPage } from '@nvmx/mmu-events';
import type { Op } from '@nvmx/sync';
import { field, piDesc, type Vmcs, virtualApicPage } from '@nvmx/vmx-fields';
import type { NestedPages } from './nested-pages.ts';

const OUTSTANDING_NOTIFICATION = 1 << (piDesc.ON.firstBit % 32);
const PIR_WORDS = (piDesc.PIR.lastBit + 1) / 32;
const VIRR_STRIDE = virtualApicPage.IRR1.offset - virtualApicPage.IRR0.offset;
const RVI_MASK = 0xff;
const CLASS_MASK = 0xf0;

/** `nothing`: no notification was outstanding. `moved`: vectors were filed. `unreachable`: a page is out of reach. */
export type PostedInterruptOutcome = 'nothing' | 'moved' | 'unreachable';

/**
 * Moves vectors posted to L2 from L1's posted-interrupt descriptor into the virtual-APIC page and raises RVI
 * (vmx_complete_nested_posted_interrupt()). Runs outside guest mode, where a refresh may sleep.
 * `unreachable`: one of the two pages cannot be reached, which KVM reports as an internal error.
 *
 * Both pages are in use at once, so neither the descriptor is cleared without the request being filed nor the other
 * way round. Unlike KVM a loss of either page in between starts over instead of failing.
 */
export function* completePostedInterrupts(pages: NestedPages, vmcs02: Vmcs): Op<PostedInterruptOutcome> {
  const { piDescriptor, virtualApic } = pages;
  if (!pages.isUsed('pi-desc') || !pages.isUsed('virtual-apic')) return 'unreachable';
  for (;;) {
    if (!(yield* makeCurrent(virtualApic)) || !(yield* makeCurrent(piDescriptor))) return 'unreachable';
    if (!virtualApic.beginUse()) continue;
    if (!piDescriptor.beginUse()) {
      virtualApic.endUse();
      continue;
    }
    const highest = moveRequests(piDescriptor, virtualApic);
    piDescriptor.endUse({ wrote: true });
    virtualApic.endUse({ wrote: true });
    if (highest < 0) return 'nothing';
    raiseRvi(vmcs02, highest);
    return 'moved';
  }
}

/** Whether a requested virtual interrupt is above the processor priority of L2 (vmx_guest_apic_has_interrupt()). */
export function* hasVirtualInterrupt(pages: NestedPages, vmcs02: Vmcs): Op<boolean> {
  const requested = vmcs02.read32(field.GUEST_INTR_STATUS) & CLASS_MASK;
  if (requested === 0 || !pages.isUsed('virtual-apic')) return false;
  const { virtualApic } = pages;
  do if (!(yield* makeCurrent(virtualApic))) return false;
  while (!virtualApic.beginUse());
  const priority = virtualApic.view.u8(virtualApicPage.PROCPRI.offset) & CLASS_MASK;
  virtualApic.endUse();
  return requested > priority;
}

function* makeCurrent(page: HeldPage): Op<boolean> {
  const gpa = page.gpa as Gpa;
  return page.tryHold(gpa) || (yield* page.hold(gpa)).ok;
}

/** Clears ON, then PIR word by word. Returns the highest vector that was posted, -1 without a notification. */
function moveRequests(piDescriptor: HeldPage, virtualApic: HeldPage): number {
  const descriptor = piDescriptor.view;
  const base = pageOffset(piDescriptor.gpa as Gpa);
  const control = descriptor.andU32(base + piDesc.ON.byteOffset, ~OUTSTANDING_NOTIFICATION);
  if ((control & OUTSTANDING_NOTIFICATION) === 0) return -1;
  let highest = -1;
  for (let word = 0; word < PIR_WORDS; word++) {
    const posted = descriptor.exchangeU32(base + 4 * word, 0);
    if (posted === 0) continue;
    virtualApic.view.orU32(virtualApicPage.IRR0.offset + VIRR_STRIDE * word, posted);
    highest = 32 * word + 31 - Math.clz32(posted);
  }
  return highest;
}

function raiseRvi(vmcs02: Vmcs, vector: number): void {
  const status = vmcs02.read32(field.GUEST_INTR_STATUS);
  if (vector > (status & RVI_MASK)) vmcs02.write32(field.GUEST_INTR_STATUS, (status & ~RVI_MASK) | vector);
}
