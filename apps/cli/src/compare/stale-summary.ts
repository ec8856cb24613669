import type { PageRole } from '@nvmx/mmu-events';
import type { AccessActor, StaleAccess, StaleAccessAudit } from '@nvmx/nested-vmx';

/** Accesses of one actor through one kind of page that reached a frame which did not back the guest page. */
export interface StaleCount {
  readonly role: PageRole;
  readonly actor: AccessActor;
  readonly count: number;
}

/** One of them. Frames by number; `current` is null where nothing backed the page. */
export interface StaleExample {
  readonly role: PageRole;
  readonly actor: AccessActor;
  readonly gpa: string;
  readonly reached: number;
  readonly current: number | null;
}

/** What the audit saw. */
export interface StaleSummary {
  /** Accesses that it looked at. */
  readonly watched: { readonly L0: number; readonly processor: number };
  /** Pairs of page and actor that the storm can reach and did not: silence there means nothing. */
  readonly unwatched: readonly string[];
  readonly stale: number;
  readonly byRole: readonly StaleCount[];
  /** The first of each role and actor. */
  readonly examples: readonly StaleExample[];
}

/**
 * Who reaches which page between two host events. L0 reads the MSR bitmap within one entry, so that it is watched and can
 * hardly be stale; the processor reaches the descriptor only when a notification finds it in guest mode, where no host
 * event can come between.
 */
const reachable: readonly { readonly role: PageRole; readonly actor: AccessActor }[] = [
  { role: 'msr-bitmap', actor: 'L0' },
  { role: 'apic-access', actor: 'processor' },
  { role: 'virtual-apic', actor: 'L0' },
  { role: 'virtual-apic', actor: 'processor' },
  { role: 'pi-desc', actor: 'L0' },
  { role: 'evmcs', actor: 'L0' },
];

/** Needs an audit that keeps every stale access, not only the first ones. */
export function summarize(audit: StaleAccessAudit): StaleSummary {
  const groups = new Map<string, StaleAccess[]>();
  for (const access of audit.stale) {
    const key = `${access.role} ${access.actor}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [access]);
    else group.push(access);
  }
  const sorted = [...groups].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, group]) => group);
  return {
    watched: { L0: audit.accesses.L0, processor: audit.accesses.processor },
    unwatched: reachable
      .filter(({ role, actor }) => audit.accessesOf[role][actor] === 0)
      .map(({ role, actor }) => `${role}, ${actor}`),
    stale: audit.staleCount,
    byRole: sorted.map((group) => ({ role: group[0]!.role, actor: group[0]!.actor, count: group.length })),
    examples: sorted.map((group) => example(group[0]!)),
  };
}

function example({ role, actor, gpa, pfn, current }: StaleAccess): StaleExample {
  return { role, actor, gpa: `0x${gpa.toString(16)}`, reached: pfn, current: current ?? null };
}
