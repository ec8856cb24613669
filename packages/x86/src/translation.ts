import { field } from '@nvmx/vmx-fields';
import { exitForApicFetch } from './apic-access.ts';
import type { CodePage } from './code-cache.ts';
import type { Cpu } from './cpu.ts';
import { EptOutcome, EptWalk, eptFlagsEnabled, walkEpt } from './ept.ts';
import { raisePageFault } from './faults.ts';
import { Flag } from './flags.ts';
import { entryAddress, PagingWalk, pagingAccess, type TableReader, WalkOutcome, walkPaging } from './paging.ts';
import { Slot } from './slot.ts';
import { Privilege } from './tlb.ts';
import { Exit, exitForPhysicalAddress, setLinearAddress } from './vm-exit.ts';

const { GUEST_CR0, GUEST_CR3, GUEST_CR4, GUEST_PDPTR0, EPT_POINTER, APIC_ACCESS_ADDR } = field;

/** Kinds of access, in place as EPT permissions and as bits 2:0 of the qualification of an EPT violation. */
export const enum Access {
  READ = 1,
  WRITE = 2,
  UPDATE = 3,
  EXECUTE = 4,
}

/** What lies behind a translated address. */
export const enum Place {
  MEMORY = 0,
  /** No frame: reads give ones, writes are dropped. */
  NOWHERE = 1,
  /** The APIC-access page, while accesses to it are virtualized. */
  APIC = 2,
}

const CR0_PG = 0x8000_0000 | 0;
const CR0_WP = 0x1_0000;
const CR4_PAE = 0x20;
const CR4_LA57 = 0x1000;
const CR4_SMEP = 0x10_0000;
const CR4_SMAP = 0x20_0000;
const EFER_NXE = 0x800;
const EFER_LMA = 0x400;
const PAGE_OFFSET = 0xfff;
const TWO_32 = 2 ** 32;

const VIOLATION_LINEAR_VALID = 0x80;
const VIOLATION_FINAL = 0x100;
const PERMISSIONS_SHIFT = 3;
const APIC_TYPE_PHYSICAL = 15 << 12;
const APIC_TYPE_PHYSICAL_EVENT = 10 << 12;

/** Reads EPT paging structures: their addresses are host-physical. */
class EptReader implements TableReader {
  low = 0;
  high = 0;
  readonly #cpu: Cpu;

  constructor(cpu: Cpu) {
    this.#cpu = cpu;
  }

  read(address: number): boolean {
    const { i32, memoryBytes } = this.#cpu;
    const word = address / 4;
    const exists = address < memoryBytes;
    this.low = exists ? i32[word] : -1;
    this.high = exists ? i32[word + 1] : -1;
    return true;
  }

  setBits(address: number, bits: number): void {
    writeTableBits(this.#cpu, address, bits);
  }
}

/** Reads the guest's paging structures: their addresses are guest-physical. */
class GuestReader implements TableReader {
  low = 0;
  high = 0;
  readonly #cpu: Cpu;
  readonly #translator: Translator;

  constructor(cpu: Cpu, translator: Translator) {
    this.#cpu = cpu;
    this.#translator = translator;
  }

  read(address: number): boolean {
    const { i32, memoryBytes } = this.#cpu;
    const host = this.#translator.table(address);
    const word = host / 4;
    const exists = host < memoryBytes;
    this.low = exists ? i32[word] : -1;
    this.high = exists ? i32[word + 1] : -1;
    return true;
  }

  setBits(address: number, bits: number): void {
    writeTableBits(this.#cpu, this.#translator.table(address, Access.WRITE), bits);
  }
}

function writeTableBits(cpu: Cpu, host: number, bits: number): void {
  if (host >= cpu.memoryBytes) return;
  cpu.i32[host / 4] |= bits;
  if (cpu.code.watched[Math.floor(host / 4096)] === 1) cpu.code.written(host, 4);
}

/** Turns linear addresses into host-physical ones by the two kinds of tables, and fills the TLB. */
export class Translator {
  readonly #cpu: Cpu;
  readonly #guestReader: GuestReader;
  readonly #eptReader: EptReader;
  readonly #paging = new PagingWalk();
  readonly #ept = new EptWalk();
  readonly #request = {
    root: 0,
    levels: 4,
    linearLow: 0,
    linearHigh: 0,
    access: 0,
    physicalAddressBits: 0,
  };
  readonly #eptRequest = {
    pointerLow: 0,
    pointerHigh: 0,
    physical: 0,
    access: 0,
    physicalAddressBits: 0,
    executeOnly: true,
  };
  #linearLow = 0;
  #linearHigh = 0;
  /** log2 of the bytes of the guest page of the last translation. */
  pageShift = 12;
  #writable = false;

  constructor(cpu: Cpu) {
    this.#cpu = cpu;
    this.#guestReader = new GuestReader(cpu, this);
    this.#eptReader = new EptReader(cpu);
    this.#request.physicalAddressBits = cpu.physicalAddressBits;
    this.#eptRequest.physicalAddressBits = cpu.physicalAddressBits;
  }

  /** Translates a data access, fills the TLB when plain memory is behind it, leaves the address in `cpu.hostAddress`. */
  data(low: number, high: number, access: Access): Place {
    const cpu = this.#cpu;
    const place = this.#translate(low, high, access);
    if (place !== Place.MEMORY) return place;
    const hostPage = cpu.hostAddress - (low & PAGE_OFFSET);
    cpu.context.set(cpu.privilege).fillData({
      low,
      high,
      hostPage: hostPage | 0,
      writable: this.#writable,
      watched: cpu.code.watched[hostPage / 4096] === 1,
      pageShift: this.pageShift,
    });
    return place;
  }

  /** Translates a fetch and fills the TLB. `undefined`: there is no memory to fetch from. */
  fetch(low: number, high: number): CodePage | undefined {
    const cpu = this.#cpu;
    const place = this.#translate(low, high, Access.EXECUTE);
    if (place === Place.APIC) exitForApicFetch(cpu, low & PAGE_OFFSET);
    if (place !== Place.MEMORY) return undefined;
    const pfn = Math.floor(cpu.hostAddress / 4096);
    const page = cpu.code.page(pfn, cpu.mode);
    cpu.context.set(cpu.privilege).fillFetch(low, high, { pageShift: this.pageShift, page });
    return page;
  }

  /**
   * Host-physical address of a paging-structure entry, by its guest-physical address. With accessed and dirty flags for
   * EPT every such access counts as a write.
   */
  table(address: number, access = Access.READ): number {
    const cpu = this.#cpu;
    const offset = address % 4096;
    const page = address - offset;
    let hostPage = page;
    if (cpu.eptEnabled) {
      const flags = eptFlagsEnabled(cpu.v[EPT_POINTER]);
      hostPage = this.#eptPage(page, flags ? Access.UPDATE : access, { address, final: false });
    }
    if (hostPage === cpu.apicAccessPage) this.#exitForTableInApicPage(address);
    return hostPage + offset;
  }

  #translate(low: number, high: number, access: Access): Place {
    const cpu = this.#cpu;
    this.#linearLow = low;
    this.#linearHigh = high;
    const physical = this.#physical(low, high, access);
    const offset = low & PAGE_OFFSET;
    const page = physical - offset;
    let hostPage = page;
    if (cpu.eptEnabled) {
      hostPage = this.#eptPage(page, access, { address: physical, final: true });
      if ((cpu.eptCache.permissions(page) & Access.WRITE) === 0) this.#writable = false;
    }
    cpu.hostAddress = hostPage + offset;
    if (cpu.apicAccessPage >= 0) {
      const matched = hostPage === cpu.apicAccessPage;
      cpu.observer?.vmcsAddressUse(APIC_ACCESS_ADDR, cpu.hostAddress, matched);
      if (matched) return Place.APIC;
    }
    return hostPage < cpu.memoryBytes ? Place.MEMORY : Place.NOWHERE;
  }

  /** Linear to guest-physical. Raises the page fault. */
  #physical(low: number, high: number, access: Access): number {
    const cpu = this.#cpu;
    const { v } = cpu;
    this.pageShift = 12;
    this.#writable = true;
    if ((v[GUEST_CR0] & CR0_PG) === 0) return (low >>> 0) + (high >>> 0) * TWO_32;
    const request = this.#request;
    request.linearLow = low;
    request.linearHigh = high;
    request.access = this.#rules(access);
    const cr4 = v[GUEST_CR4];
    if ((cpu.efer & EFER_LMA) !== 0) {
      request.root = entryAddress(v[GUEST_CR3], v[GUEST_CR3 + 1]);
      request.levels = (cr4 & CR4_LA57) !== 0 ? 5 : 4;
    } else if ((cr4 & CR4_PAE) !== 0) {
      const pdptr = GUEST_PDPTR0 + (low >>> 30) * 2;
      if ((v[pdptr] & 1) === 0) this.#fault(low, high, access);
      request.root = entryAddress(v[pdptr], v[pdptr + 1]);
      request.levels = 2;
    } else {
      this.#fault(low, high, access);
    }
    const walk = this.#paging;
    if (walkPaging(this.#guestReader, request, walk) !== WalkOutcome.OK) {
      raisePageFault(cpu, low, high, walk.errorCode);
    }
    this.pageShift = walk.pageShift;
    this.#writable = walk.writable;
    return walk.physical;
  }

  #fault(low: number, high: number, access: Access): never {
    const user = this.#cpu.privilege === Privilege.USER ? 4 : 0;
    raisePageFault(this.#cpu, low, high, user | (access & Access.WRITE));
  }

  #rules(access: Access): number {
    const cpu = this.#cpu;
    const cr4 = cpu.v[GUEST_CR4];
    let rules: number = pagingAccess.gigabytePages;
    if ((access & Access.WRITE) !== 0) rules |= pagingAccess.write;
    if (access === Access.EXECUTE) rules |= pagingAccess.execute;
    if ((cpu.v[GUEST_CR0] & CR0_WP) !== 0) rules |= pagingAccess.writeProtect;
    if ((cpu.efer & EFER_NXE) !== 0) rules |= pagingAccess.noExecute;
    if ((cr4 & CR4_SMEP) !== 0) rules |= pagingAccess.smep;
    if (cpu.privilege === Privilege.USER) return rules | pagingAccess.user;
    const blocked = (cr4 & CR4_SMAP) !== 0 && cpu.privilege !== Privilege.SUPERVISOR_USER_ACCESS;
    return blocked ? rules | pagingAccess.smap : rules;
  }

  /** Guest-physical page to host-physical page. Exits on violation and misconfiguration. */
  #eptPage(page: number, access: Access, o: { readonly address: number; readonly final: boolean }): number {
    const cpu = this.#cpu;
    const known = cpu.eptCache.find(cpu.eptPage, page, access);
    if (known >= 0) return known;
    const request = this.#eptRequest;
    request.pointerLow = cpu.v[EPT_POINTER];
    request.pointerHigh = cpu.v[EPT_POINTER + 1];
    request.physical = page;
    request.access = access;
    const walk = this.#ept;
    const outcome = walkEpt(this.#eptReader, request, walk);
    if (outcome !== EptOutcome.OK) this.#exitForEpt(outcome, access, o);
    const permissions = walk.writable ? walk.permissions : walk.permissions & ~Access.WRITE;
    cpu.eptCache.fill({ eptPage: cpu.eptPage, guestPage: page, hostPage: walk.physical, permissions });
    return walk.physical;
  }

  #exitForEpt(outcome: EptOutcome, access: Access, o: { readonly address: number; readonly final: boolean }): never {
    const cpu = this.#cpu;
    if (outcome !== EptOutcome.VIOLATION) {
      exitForPhysicalAddress(cpu, { reason: Exit.EPT_MISCONFIG, qualification: 0, physical: o.address });
    }
    setLinearAddress(cpu, this.#linearLow, this.#linearHigh);
    const qualification =
      access | (this.#ept.permissions << PERMISSIONS_SHIFT) | VIOLATION_LINEAR_VALID | (o.final ? VIOLATION_FINAL : 0);
    exitForPhysicalAddress(cpu, { reason: Exit.EPT_VIOLATION, qualification, physical: o.address });
  }

  #exitForTableInApicPage(address: number): never {
    const cpu = this.#cpu;
    cpu.observer?.vmcsAddressUse(APIC_ACCESS_ADDR, cpu.apicAccessPage, true);
    const type = cpu.deliveringInfo !== 0 ? APIC_TYPE_PHYSICAL_EVENT : APIC_TYPE_PHYSICAL;
    exitForPhysicalAddress(cpu, { reason: Exit.APIC_ACCESS, qualification: type, physical: address });
  }
}

/** Chooses the translations that fit CPL, SMAP and the kind of access. */
export function selectTranslations(cpu: Cpu): void {
  let privilege = Privilege.SUPERVISOR;
  if (!cpu.systemAccess) {
    if (cpu.cpl === 3) privilege = Privilege.USER;
    else if ((cpu.v[GUEST_CR4] & CR4_SMAP) !== 0 && (cpu.r[Slot.SYSTEM_FLAGS] & Flag.AC) !== 0) {
      privilege = Privilege.SUPERVISOR_USER_ACCESS;
    }
  }
  cpu.privilege = privilege;
  const set = cpu.context.set(privilege);
  cpu.tlb = set.data;
  cpu.fetchTlb = set.fetch;
  cpu.fetchPages = set.fetchPages;
}
