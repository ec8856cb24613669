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
  readonly stale: number;
  readonly byRole: readonly StaleCount[];
  /** The first of each role and actor. */
  readonly examples: readonly StaleExample[];
}

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
    stale: audit.staleCount,
    byRole: sorted.map((group) => ({ role: group[0]!.role, actor: group[0]!.actor, count: group.length })),
    examples: sorted.map((group) => example(group[0]!)),
  };
}

function example({ role, actor, gpa, pfn, current }: StaleAccess): StaleExample {
  return { role, actor, gpa: `0x${gpa.toString(16)}`, reached: pfn, current: current ?? null };
}
